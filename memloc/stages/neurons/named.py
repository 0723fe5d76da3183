"""SQL for view `atlas`: which layers and neurons lists of neurons name, the most telling neuron first."""

from __future__ import annotations


def atlas_of(lists: str, first: int | None = None) -> tuple[str, str]:
    """SELECTs of layers and of neurons.

    lists: SQL; analysis, trial, method, example, layers, indices, a row for each list. An example may have several lists of
    a method, over which scores are means. A layer's score is its share of the first neurons of the list, or of all. That of
    the first neuron is 1, of the second 1/2, and so on.
    """
    size = "len(layers)" if first is None else f"least(len(layers), {first})"
    by_layer, by_neuron = (
        f"""WITH given AS ({lists}),
                 sized AS (SELECT *, {size} AS size, count(*) OVER (PARTITION BY analysis, method, example) AS of
                           FROM given),
                 named AS (SELECT analysis, trial, method, example, of, size, unnest(layers) AS layer,
                                  unnest(indices) AS unit, unnest(range(1, len(layers) + 1)) AS place FROM sized),
                 scored AS (SELECT * REPLACE ({unit} AS unit), {value} AS value FROM named WHERE {among})
            SELECT analysis, trial, method, layer, unit, example, fsum(value ORDER BY value) / any_value(of) AS score
            FROM scored GROUP BY ALL"""
        for unit, value, among in (("NULL", "1 / size", "place <= size"), ("unit", "1 / place", "true"))
    )
    return by_layer, by_neuron
