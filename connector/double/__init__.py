"""A double of Braze: its REST endpoints as the documentation tells them, and the ways in which they fail.

It follows Braze's contract, never what our own client happens to send, and knows nothing of the rest of the connector.

`braze_double` is the whole of it without I/O, clock or chance of its own: time and a `random.Random` are handed in, so
the same core runs behind a socket (`server`) and in a simulation's virtual time. Reading route:

- `exchange` is what goes in and comes out, `settings` is what may be configured, `faults` is what may be made to fail;
- `rate` decides whether a request is admitted, `validation` what is wrong with an object;
- `track`, `trigger` and `lookups` answer the endpoints;
- `application` delays what was accepted, `workspace` and `profiles` apply it, `values` knows the attribute operations;
- `tally` counts, `journal` writes the applied objects to a file.
"""
