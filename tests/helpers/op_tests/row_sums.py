"""The row sum of the kernels, one addition at a time."""


def sum_in_order(row):
    """As kernels/math/reduce.h has it: blocks of 4096, in each of them 32 lanes, then the lanes, then the blocks, one after the other."""
    total = 0.0
    for block in row.double().split(4096):
        lanes = [0.0] * 32
        for i, value in enumerate(block.tolist()):
            lanes[i % 32] += value
        of_block = 0.0
        for lane in lanes:
            of_block += lane
        total += of_block
    return total
