"""The tables of a store whose rows are split over several."""


def table_of(table: str, part: int) -> str:
    """The name of the table of a part, by its number from 0 on, where all parts are in one database.

    The first one has the name of a table that is not split, so that such a table becomes the first of several.
    """
    return f"{table}_p{part + 1}" if part else table
