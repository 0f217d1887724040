"""What the operators' lowerings are made of, below both operators and schedules.

building      buffers and loops of a program
window        kernels that slide along a dimension
quantise      multipliers, shifts, roundings
contraction   loops that multiply and add
moves         boxes of elements that are copied
"""
