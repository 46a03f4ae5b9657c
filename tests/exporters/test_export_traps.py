"""Traps of runtimes and of other exporters, each with the tests that would see edgewise fall into it.

What was measured of them is in docs/exporting.md and docs/tflite.md. The table is only kept true: whoever renames or
removes a test finds its trap here.
"""

import pytest

from tests.test_traps import missing

ONNX = "tests/exporters/test_export_onnx.py"
COMPRESS = "tests/exporters/test_compress_export.py"
CARRIERS = "tests/exporters/carriers/test_carriers.py"
OLD = "tests/exporters/carriers/test_old_runtimes.py"
EVERY = "tests/exporters/test_every_family.py"
INT8 = "tests/exporters/test_quantize_int8.py"
LARGE = "tests/exporters/test_large_models.py"
FLOATS = "tests/exporters/compress/test_floats.py"
LITE = "tests/exporters/tflite/test_quantise_weights.py"
GRAPHS = "tests/exporters/tflite/test_graphs.py"
OPERATORS = "tests/exporters/tflite/test_operators.py"
CARRY = "tests/exporters/tflite/test_carry.py"
NO_TRAP = f"{CARRIERS}::test_no_trap_is_written"
EVERYWHERE = f"{EVERY}::test_every_family_arrives_and_answers_as_its_reference"

TRAPS = [
    # onnxruntime's low-bit kernels
    ("MatMulNBits without accuracy level 4 takes 20 times as long as float32 with 2 and 8 bits", [NO_TRAP]),
    ("a block of 256 takes 100 times as long, one of 16 with 2 bits 50 times",
     [NO_TRAP, f"{CARRIERS}::test_two_bits_in_blocks_of_16_take_the_four_bit_kernel"]),
    ("1.24 to 1.27 accept 2 bits and take 100 times as long",
     [f"{CARRIERS}::test_releases_whose_two_bit_kernel_is_slow_do_not_get_it"]),
    ("widths other than 2, 4 and 8 do not load, and older releases have fewer of these",
     [NO_TRAP, EVERYWHERE, f"{OLD}::test_what_a_release_lacks_is_not_written_for_it",
      f"{CARRIERS}::test_a_release_without_the_kernels_computes_in_integers_or_float"]),
    ("a weight or a scale that several DequantizeLinear read is not fused: 50 times as long, and more memory",
     [NO_TRAP, f"{COMPRESS}::test_a_shared_weight_is_stored_once",
      f"{ONNX}::test_equal_weights_and_dead_nodes_go_and_quantisation_scales_stay_apart"]),
    ("a Conv's weight through DequantizeLinear is unpacked at every call", [NO_TRAP]),
    ("fp8 through DequantizeLinear is not folded, fp4 has no kernel", [NO_TRAP, EVERYWHERE]),
    ("Gather has no 4- and 2-bit data, and an embedding in 8 bits is refused by the runtime's tool",
     [NO_TRAP, EVERYWHERE]),
    ("INT4 tensors need opset 21 and their Cast is missing in 1.19; a Cast to UINT2 crashes while folding",
     [NO_TRAP, EVERYWHERE]),
    ("bit operations and bit planes take 0.2 to 1.7 GB while they are folded", [NO_TRAP]),
    ("ScatterND and sparse_initializer become dense, the latter is larger in the file", [NO_TRAP]),
    ("two low-bit kernels instead of one are slower than float32 at many rows",
     [f"{CARRIERS}::test_known_rows_decide_where_nothing_was_measured"]),
    # onnxruntime's quantiser, onnx's tools
    ("preparing for quantisation imports eight domains that nobody uses",
     [f"{INT8}::test_only_domains_that_are_used_are_imported"]),
    ("weights with one scale per tensor lose all accuracy",
     [f"{INT8}::test_weights_are_int8_per_channel_and_activations_uint8",
      f"{INT8}::test_the_example_keeps_its_answers"]),
    ("a quantiser that raises the opset without converting the graph makes it invalid",
     [f"{COMPRESS}::test_old_opsets_are_raised_as_carriers_need",
      f"{INT8}::test_an_old_opset_is_raised_as_per_channel_scales_need"]),
    ("calibration data of another dtype or shape", [f"{INT8}::test_calibration_that_does_not_fit"]),
    ("a tool that rewrites the file that it was given", [f"{COMPRESS}::test_an_artifact_has_every_proof"]),
    ("a message of more than 2 GB, and external data that loses its place",
     [f"{LARGE}::test_a_large_model_is_exported_with_one_session_at_a_time",
      f"{LARGE}::test_the_opset_of_external_data_is_converted_without_its_weights"]),
    ("a branch of an If that reads outer values is cut wrongly by onnx's extractor",
     ["tests/offload/test_pieces.py::test_an_if_is_one_piece_with_what_its_bodies_take",
      f"{ONNX}::test_a_branch_that_returns_an_outer_value_survives", f"{COMPRESS}::test_weights_in_an_if_are_carried"]),
    ("a small float format may turn what is too large into zero",
     [f"{FLOATS}::test_too_large_values_become_the_largest_finite_one"]),
    # TFLite
    ("scales per channel of a hybrid layer are ignored by tflite-runtime 2.14: the output is the bias",
     [f"{LITE}::test_why_scales_per_channel_of_a_hybrid_layer_make_the_older_runtime_wrong",
      f"{LITE}::test_int8_weights_of_the_older_runtime_are_unpacked_at_load_with_a_scale_per_channel"]),
    ("int4 and int2 weights end tflite-runtime 2.14 with an error or a crash",
     [f"{LITE}::test_why_int2_is_not_for_the_older_runtime",
      f"{LITE}::test_why_an_int4_weight_is_not_unpacked_by_the_older_runtime",
      f"{LITE}::test_int4_weights_of_the_older_runtime_have_one_scale_per_layer"]),
    ("a converter may be right at the traced shape alone", [f"{OPERATORS}::test_one_file_is_right_at_every_shape",
      f"{GRAPHS}::test_a_decoder_with_a_cache_is_right_at_every_batch_length_and_past"]),
    ("half precision turns a mask of -3.4e38 into NaN", [f"{GRAPHS}::test_half_precision_is_computed_in_float32"]),
    ("custom operators that no runtime has", [f"{GRAPHS}::test_what_cannot_be_converted_is_listed_as_a_whole"]),
    ("a quantised graph becomes float operators that emulate it",
     [f"{GRAPHS}::test_a_graph_that_is_quantised_already_is_refused_with_the_way_to_go"]),
    ("TFLite has no codebooks and no shifts",
     [f"{CARRY}::test_a_family_without_a_form_in_tflite_stays_float_and_is_said",
      f"{CARRY}::test_shifts_that_int8_cannot_hold_stay_float"]),
]  # fmt: skip


@pytest.mark.parametrize(("trap", "tests"), TRAPS, ids=[trap for trap, _ in TRAPS])
def test_each_trap_has_a_test_that_exists(trap, tests):
    assert tests
    assert [node_id for node_id in tests if missing(node_id)] == []
