"""Traps of devices, links, libraries and of the lab, each with the tests that would see edgewise fall into it.

The table is only kept true: whoever renames or removes a test finds its trap here.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ADB = "tests/mobile/transports/test_adb.py"
SSH = "tests/mobile/transports/test_ssh.py"
SOCKETS = "tests/mobile/transports/test_sockets.py"
DEVICE_SCRIPTS = "tests/mobile/transports/test_device_scripts.py"
CONTRACT = "tests/contracts/transport.py::TransportContract"
STORE = "tests/mobile/push/test_store.py"
RESUME = "tests/mobile/push/test_resume.py"
CURRENT = "tests/mobile/push/test_current.py"
PLAN = "tests/mobile/provision/test_setup_plan.py"
FLOW = "tests/mobile/provision/test_setup_flow.py"
PROBE = "tests/mobile/provision/test_device_probe.py"
WHEELS = "tests/mobile/provision/test_wheels_for_devices.py"
DEBIAN = "tests/mobile/provision/test_debian_parts.py"
FACTS = "tests/device_agents/test_facts.py"
PARTS = "tests/device_agents/test_agent_parts.py"
RUNS = "tests/device_agents/test_detached_runs.py"
DETACHED = "tests/mobile/benchmark/test_detached_bench.py"
LAB = "tests/system/test_lab.py"
LAB_LINKS = "tests/system/test_lab_transports.py"
LAB_SETUP = "tests/system/test_setup_devices.py"

# (the trap in a few words, the tests that close it)
TRAPS = [
    # ssh
    (
        "a write into a cut link waits for ever unless the kernel gives it up: TCP_USER_TIMEOUT and keepalive",
        [
            f"{SOCKETS}::test_the_kernel_gives_up_a_dead_link_with_and_without_data_under_way",
            f"{SSH}::test_a_connection_takes_the_fast_ciphers_and_says_that_it_lives",
            f"{LAB_LINKS}::test_a_put_on_a_dead_link_ends_and_the_old_file_stays",
            f"{LAB_LINKS}::test_a_command_on_a_dead_link_ends_long_before_its_deadline",
        ],
    ),
    (
        "a device whose kernel lives and whose sshd does not is seen by no link timeout",
        [f"{SSH}::test_a_device_that_stops_answering_ends_at_the_deadline"],
    ),
    (
        "Nagle and delayed acknowledgements make small writes forty times slower: TCP_NODELAY",
        [f"{SOCKETS}::test_small_messages_are_not_held_back"],
    ),
    (
        "a write that waits for the answer to each block runs at 1 MB/s: 64 MiB must pass well within their deadline",
        [f"{CONTRACT}::test_bytes_come_back_equal"],
    ),
    (
        "the ssh library prefers slow ciphers: AES-GCM goes first",
        [f"{SSH}::test_a_connection_takes_the_fast_ciphers_and_says_that_it_lives"],
    ),
    (
        "keys are exchanged anew every 512 MiB, a stall, and a channel that closes meanwhile ends the connection",
        [
            f"{SSH}::test_keys_are_exchanged_in_the_middle",
            f"{SSH}::test_a_connection_takes_the_fast_ciphers_and_says_that_it_lives",
        ],
    ),
    (
        "an sshd allows about ten sessions on a connection, and one connection does not scale",
        [
            f"{SSH}::test_a_device_with_few_sessions_is_used_within_its_limit",
            f"{CONTRACT}::test_twenty_calls_run_side_by_side",
        ],
    ),
    (
        "a command that a signal ended, such as for want of memory, has no exit status",
        [
            f"{CONTRACT}::test_a_signal_is_told",
            "tests/device_agents/test_agent_failures.py::test_a_kill_by_the_kernel_for_memory",
        ],
    ),
    (
        "errors of writes under way surface late or not at all: size and SHA-256 are checked where the file lies",
        [
            f"{CONTRACT}::test_a_full_file_system_is_named",
            f"{RESUME}::test_only_what_is_whole_is_kept",
            f"{RESUME}::test_an_artifact_that_always_arrives_damaged_is_an_error",
            f"{RESUME}::test_a_disk_that_fills_up_under_way_is_said_and_gone_on_with",
        ],
    ),
    (
        "an unlimited number of reads ahead hangs: what comes is bounded and handed over at once",
        [f"{CONTRACT}::test_output_over_the_limit_ends_the_command", f"{CONTRACT}::test_a_gibibyte_comes_back_equal"],
    ),
    (
        "sshd gives its environment to no command",
        [
            f"{CONTRACT}::test_the_environment_arrives_as_it_is",
            f"{LAB}::test_a_command_over_ssh_has_the_emulated_processor_in_spite_of_sshd",
        ],
    ),
    # adb
    (
        "a socket takes a part of what is sent, on any link with a delay: all is sent all the same",
        [f"{ADB}::test_every_byte_is_sent_though_the_socket_takes_few", f"{LAB_LINKS}::TestPhone"],
    ),
    (
        "header and payload of a packet in two writes cost a wait",
        [f"{ADB}::test_header_and_payload_leave_together_and_checksums_only_where_an_old_device_wants_them"],
    ),
    (
        "checksums of every packet are slow on a small host, and an old device wants them",
        [f"{ADB}::test_header_and_payload_leave_together_and_checksums_only_where_an_old_device_wants_them"],
    ),
    (
        "one packet is under way at a time, and its size is the device's to say",
        [f"{ADB}::test_older_devices_take_smaller_packets"],
    ),
    (
        "the first shell service has no exit code and mixes both outputs",
        [
            f"{ADB}::TestShellV1",
            f"{ADB}::test_the_closing_line_is_found_wherever_the_pieces_are_cut",
            f"{CONTRACT}::test_the_exit_code_is_the_commands",
            f"{CONTRACT}::test_both_streams_come_apart_and_whole",
        ],
    ),
    (
        "sizes of 32 bits: files of 4 GiB and more lose them in adb's stat, and Android's shell computes with 32 bits",
        [
            f"{ADB}::test_no_request_for_files_has_a_size_of_32_bits_in_it",
            f"{DEVICE_SCRIPTS}::test_files_over_4_gib_keep_their_size",
            "tests/mobile/push/test_push_shells.py::test_a_large_file_is_had_and_one_of_its_size_modulo_32_bits_is_not",
        ],
    ),
    (
        "phones paired over the air speak TLS: the adb server is the way to them",
        [
            f"{ADB}::test_a_paired_phone_is_sent_to_the_adb_server",
            f"{ADB}::TestServer",
            f"{LAB_LINKS}::test_a_phone_of_a_real_adb_server",
        ],
    ),
    (
        "an old adbd has no packed transfer and no later services: only the first version of file sync is used",
        [f"{ADB}::test_no_request_for_files_has_a_size_of_32_bits_in_it", f"{LAB_LINKS}::TestPhone"],
    ),
    (
        "progress is told as the running total, not as the size of the last piece",
        [f"{CONTRACT}::test_progress_grows_to_the_whole"],
    ),
    (
        "some adbd serve one connection at a time and say nothing to the second",
        [f"{ADB}::test_a_port_that_is_not_adb_ends_in_time", f"{ADB}::test_a_silent_port_ends_at_the_deadline"],
    ),
    (
        "a phone without a screen to ask on stays unauthorized for ever",
        [
            f"{ADB}::test_a_phone_that_waits_for_an_answer_on_its_screen_is_unauthorized",
            f"{LAB_LINKS}::test_a_phone_that_does_not_know_the_key_is_unauthorized",
        ],
    ),
    (
        "neither adbd's greeting nor adb's list says the model of every phone: getprop does",
        [f"{FACTS}::test_a_phone_is_asked_for_its_model", f"{PROBE}::test_a_phone"],
    ),
    (
        "adb writes to few places of a phone",
        [f"{LAB_LINKS}::test_folders_that_cannot_be_written_are_clear_errors"],
    ),
    (
        "an old adbd takes no command longer than 4 KiB",
        [f"{PROBE}::test_no_question_is_longer_than_an_old_adbd_takes"],
    ),
    # what is on a device
    (
        "a phone has toybox and mksh, and neither Python nor a C library in place",
        [
            f"{LAB}::test_the_phone_has_neither_python_nor_a_c_library_in_place",
            f"{LAB_LINKS}::test_the_store_needs_only_what_the_device_has",
            f"{RESUME}::test_each_shell_will_do",
            f"{STORE}::test_each_hash_program_will_do",
        ],
    ),
    (
        "no rsync and no other tool may be wanted on the device",
        [f"{RESUME}::test_neither_dd_nor_truncate_nor_gunzip", f"{RESUME}::test_a_variant_sends_what_changed"],
    ),
    (
        "/sdcard has no symbolic links: a file holds the path",
        [f"{CURRENT}::test_a_model_is_in_use_after_the_switch_and_back_after_a_rollback"],
    ),
    (
        "a new model is visible whole and at once, or not at all, and the one before can be had back",
        [
            f"{CURRENT}::test_a_reader_always_finds_a_whole_model",
            "tests/mobile/cli/test_push_commands.py::test_a_model_that_does_not_run_is_stored_and_not_used",
            "tests/system/test_push_soak.py::test_pushes_that_are_cut_at_random_points_show_nothing_wrong",
        ],
    ),
    (
        "deleting or overwriting the target before the new file is whole loses both",
        [
            f"{CONTRACT}::test_an_interrupted_put_leaves_the_old_file_and_nothing_else",
            f"{ADB}::test_a_put_that_is_cut_leaves_the_old_file",
        ],
    ),
    (
        "free space is looked at before anything is sent",
        [f"{STORE}::test_too_little_space_is_said_before_anything_is_sent"],
    ),
    (
        "what is there of a cut push is gone on with, once the hash of what is there has been compared",
        [f"{RESUME}::test_a_cut_push_is_gone_on_with_by_another", f"{RESUME}::test_only_what_is_whole_is_kept"],
    ),
    (
        "a file of equal size and time may have another content: only the hash counts",
        [f"{STORE}::test_a_recheck_finds_a_damaged_file", f"{STORE}::test_a_file_lies_under_its_hash"],
    ),
    (
        "the board's name is in one of two device trees",
        [f"{FACTS}::test_pi5", f"{FACTS}::test_models"],
    ),
    (
        "the memory that /proc shows may be another machine's: the kernel's own count of kills decides",
        [
            f"{PARTS}::test_kills_for_memory_are_counted_where_the_kernel_counts_them",
            f"{PARTS}::test_what_an_exit_means",
            f"{LAB}::test_limits_are_enforced_and_the_lab_leaves_no_trace",
        ],
    ),
    # runs that outlive their host
    (
        "a command of a session ends with the session: a run has its own, no terminal and none of its outputs",
        [
            f"{CONTRACT}::test_what_is_started_goes_on_after_close",
            f"{CONTRACT}::test_what_is_started_leads_its_own_group",
            f"{RUNS}::test_it_belongs_to_no_terminal_and_holds_nothing_of_the_connection",
            "tests/system/test_detached_runs.py::test_detached_on_the_phone_over_adbd",
        ],
    ),
    (
        "a run may end with adbd, with the power or by the kernel: it is told from one that goes on",
        [
            f"{RUNS}::test_a_killed_supervisor_is_told_from_one_that_runs",
            f"{RUNS}::test_a_restart_of_the_device_is_told_from_a_kill",
            "tests/system/test_detached_runs.py::test_a_power_cut_under_a_run_keeps_what_was_measured",
        ],
    ),
    (
        "results are fetched whole after the link was away",
        [
            f"{DETACHED}::test_a_run_is_whole_whenever_the_link_breaks",
            f"{DETACHED}::test_detached_runs_are_collected_whole_by_a_new_program",
        ],
    ),
    # runtimes
    (
        "a bare board has no libstdc++, and a runtime's wheel needs it",
        [
            f"{PLAN}::test_a_board_without_libstdcxx_gets_it",
            f"{PLAN}::test_an_import_error_is_explained_in_one_line",
            "tests/mobile/provision/test_doctor.py::test_a_runtime_whose_cpp_library_is_missing_is_explained",
            f"{LAB_SETUP}::test_a_board_without_the_cpp_library_is_explained_and_given_it",
        ],
    ),
    (
        "one platform tag finds half of the wheels: every manylinux level of the device is asked for",
        [
            "tests/mobile/provision/test_wheel_tags.py::test_every_level_down_to_the_oldest_is_asked_for",
            f"{WHEELS}::test_the_wheels_of_the_device_are_taken_with_what_they_need",
        ],
    ),
    (
        "a wheel may need a newer glibc than the board has",
        [f"{WHEELS}::test_an_older_glibc_gets_the_older_wheel_or_a_clear_word"],
    ),
    ("a stripped library of a wheel does not load", [f"{WHEELS}::test_libraries_of_wheels_are_never_stripped"]),
    (
        "an interpreter that was moved wants its library below PYTHONHOME, and its own loader",
        [
            f"{DEBIAN}::test_the_interpreter_of_a_bundle_finds_its_home_loader_and_libraries",
            f"{LAB_SETUP}::test_a_device_is_set_up_and_computes_what_the_host_computes",
        ],
    ),
    (
        "a board has no internet, and an emulated one takes minutes to install: wheels come from the host",
        [
            f"{FLOW}::test_a_board_without_a_runtime_is_given_one",
            f"{LAB}::test_nothing_outside_the_lab_can_be_reached_from_it",
        ],
    ),
    (
        "a runtime may crash the process that imports it",
        [
            f"{FACTS}::test_probing_asks_for_providers_in_a_process_of_its_own",
            f"{FACTS}::test_what_keeps_a_runtime_from_loading",
            f"{FLOW}::test_a_runtime_that_crashes_when_loaded_is_told",
        ],
    ),
    (
        "tflite-runtime imports beside numpy 2 and fails when a model is loaded",
        [
            "tests/test_tflite_runtime.py::test_with_numpy_2_it_is_a_missing_runtime_that_says_what_to_do",
            f"{WHEELS}::test_tflite_runtime_brings_an_older_numpy",
        ],
    ),
    (
        "a runtime that is imported reports home, unless a variable forbids it beforehand",
        [
            "tests/device_agents/test_agent_ort.py::test_onnxruntime_reports_nothing_home",
            f"{PARTS}::test_the_workers_environment",
            f"{FACTS}::test_probing_asks_for_providers_in_a_process_of_its_own",
            "tests/exporters/test_export_onnx.py::test_telemetry_is_off_before_onnxruntime_is_imported",
        ],
    ),
    (
        "a Python of a board is of any version from 3.8 up",
        [
            "tests/mobile/test_agent_zip.py::test_it_runs_on_this_python",
            "tests/mobile/test_agent_zip.py::test_the_code_is_syntax_of_python_3_8",
            f"{RUNS}::test_a_run_goes_on_when_the_command_that_started_it_has_ended",
        ],
    ),
    (
        "a processor quota is no slow device: it moves the tail and not the median",
        [
            "tests/device_agents/test_slow.py::test_every_inference_takes_the_factor",
            "tests/mobile/cli/test_bench.py::test_a_slow_down_is_injected_and_said",
            "tests/mobile/inventory/test_inventory_load.py::test_a_slow_down_says_so_in_the_provenance",
        ],
    ),
    # the lab itself
    (
        "a runtime's processor probe crashes under translation when /proc/cpuinfo is the machine's own",
        [f"{LAB}::test_a_translated_device_shows_an_arm_processor"],
    ),
    (
        "the default processor of the emulator makes a runtime pick kernels ten times slower",
        [f"{LAB}::test_a_command_over_ssh_has_the_emulated_processor_in_spite_of_sshd"],
    ),
    (
        "installing the emulator registers nothing with the kernel, and a locked account takes no key",
        [f"{LAB}::test_a_board_is_reached_over_real_ssh"],
    ),
    (
        "figures of an emulated board mean nothing, and must say so",
        [
            f"{LAB}::test_every_node_says_that_it_is_emulated",
            "tests/mobile/reports/test_reports.py::test_times_that_are_not_real_say_so",
            "tests/system/test_drawer.py::test_a_bench_on_all_three_has_one_schema_and_says_emulated",
        ],
    ),
    (
        "a test could reach a foreign address by accident",
        [f"{LAB}::test_nothing_outside_the_lab_can_be_reached_from_it"],
    ),
    (
        "loopback hides what a link does: rate, delay and loss are needed, and this kernel has no netem",
        [
            f"{LAB}::test_a_rate_is_kept",
            f"{LAB}::test_a_delay_comes_and_goes_while_a_connection_stays",
            f"{LAB}::test_a_share_of_the_frames_is_lost",
        ],
    ),
    (
        "a pulled cable resets nothing: both ends stall, and go on when it is in again",
        [f"{LAB}::test_a_cut_link_stalls_and_recovers"],
    ),
    (
        "a device that loses power is silent; it does not refuse connections",
        [
            f"{LAB}::test_power_off_is_silence_and_power_on_brings_the_disk_back",
            f"{LAB_LINKS}::test_a_device_without_power_does_not_answer",
        ],
    ),
    (
        "a limit that is set after the first process has forked does not hold for its children",
        [f"{LAB}::test_limits_are_enforced_and_the_lab_leaves_no_trace"],
    ),
    (
        "adbd also listens on a socket that no network namespace confines",
        [f"{LAB}::test_adbd_listens_on_no_virtual_machine_socket"],
    ),
]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The classes and tests of a file: "test_x", "TestY", "TestY::test_x"."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            tests = [item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {node.name, *(f"{node.name}::{name}" for name in tests)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return frozenset(found)


def missing(node_id: str) -> bool:
    """Whether there is no such test, or class of tests."""
    name, _, test = node_id.partition("::")
    path = ROOT / name
    last = test.rpartition("::")[2]
    return not last.startswith(("test_", "Test")) or not path.is_file() or test not in names_in(path)


@pytest.mark.parametrize(("trap", "tests"), TRAPS, ids=[trap for trap, _ in TRAPS])
def test_each_trap_has_a_test_that_exists(trap, tests):
    assert tests
    assert [node_id for node_id in tests if missing(node_id)] == []


def test_a_trap_stands_in_the_table_once():
    assert len({trap for trap, _ in TRAPS}) == len(TRAPS)
    assert all(len(set(tests)) == len(tests) for _, tests in TRAPS)


@pytest.mark.parametrize(
    "node_id",
    [
        f"{ADB}::test_that_was_removed",
        f"{ADB}::phone",
        f"{ADB}::TestDirect::test_that_was_removed",
        "tests/gone.py::test_x",
        ADB,
    ],
)
def test_what_is_gone_is_seen(node_id):
    assert missing(node_id)
