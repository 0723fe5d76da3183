"""Any network as a chain of layer groups: traced into operations, cut into groups, with gates and dropout sites.

`trace.py` lists the operations. `units.py` says which groups there are, `cut.py` gives each operation its group, and
`program.py` runs one. `gate_points.py` finds the neurons, `sites.py` the dropout sites. `opened.py` puts all of it together
and compares it with the network itself. `network.py` is the `Network`. An architecture (timm's models, a user's own
function) only says how its module is made: an `Origin`.
"""
