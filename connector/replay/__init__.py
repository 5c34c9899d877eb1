"""Dead letters back to the topics that they came from: `aiq-braze replay`.

Three promises, each kept by a Kafka transaction rather than by care:

- **A letter is put back once.** In the transaction that writes the record to its original partition, a *mark* goes to
  the letter's own partition of the dead-letter topic: both are there or neither is, whatever crashes in between. A
  letter whose record has a mark is never put back again. A mark is younger than its letter and lies behind it in the
  same partition, so retention cannot take it first. Two replays at a time are fenced by their `transactional.id`.
- **An older value never overwrites a newer one.** An attribute's letter goes back only if its original partition holds
  no newer write of that user and attribute (`supersession`). What others write while we do is looked through before
  the transaction is committed, and the transaction is aborted if it matters.
- **A record keeps its history**, however often it fails (`dead_letter`), in a bounded number of headers.

`dead_letter`, `selection`, `supersession`, `verdicts` and `pace` are pure; `kafka` and `schemas` reach outside;
`session` is the whole flow, `screen` what a person sees of it.
"""

from __future__ import annotations
