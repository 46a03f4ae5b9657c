"""Whether the placement that a plan calls the best is the best: `python -m tests.soak.split --settings 60 --seed 2`

On the lab: a board that is slower by a known factor, behind a shaped link, and the edge server. Once for each model a
profile on the plain board and one on the server's machine; the board's is multiplied by the factor, a package is made,
and calibrated (`edgewise split calibrate`) over an unshaped link. The settings (model, factor, rate and delay) are
drawn from the seed among a grid, a third each of those whose predicted optimum is all on the device, all on the
server, and between; they are written to a file before any of them is measured, and nothing is tuned in between.

In each setting first the conditions are measured, as a client would know them: the link, and by a few frames on the
device and on the server how fast the two are now (the machine under the lab is shared; its speed changes by a fifth
from minute to minute). By them the package's table says what every placement will take. Then five placements run,
frame by frame in turn, forwards and backwards: all on the device, all on the server, the one that is predicted to be
the best, and the two that are predicted to come next.

A setting is a hit when the median latency of the predicted best is at most 5 % above the least of the five. The error
is (predicted - measured) / measured of each placement that ran. One line of JSON for each setting, and at the end a
table with every miss.
"""
