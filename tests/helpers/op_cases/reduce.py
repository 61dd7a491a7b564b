"""Sums over neurons, in a fixed order. Other ops use them; there is no public function."""


def _matrix(i):
    return i.gradient(dtype=i.state).detach().reshape(i.T, -1)


RAW = {
    "row_sum/long_rows": lambda i: ("row_sum", (_matrix(i),)),
    "row_sum/many_rows": lambda i: ("row_sum", (_matrix(i).T,)),
}
TOO_SMALL_TO_POISON = ("row_sum/long_rows",)
