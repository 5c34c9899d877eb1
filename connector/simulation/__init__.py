"""The whole connector in virtual time: production code, with only ports and clock replaced.

A tool. `scenario` draws a workload and a schedule of faults from a seed, `world` plays them, `checker` judges. One
command replays a seed: `python -m connector.simulation --seed 7 --seeds 1`.
"""
