"""What does the owner of some columns have of a joint model once it is trained?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from node.model.federated import COLUMNS_MOST, ColumnName, PartyName
from node.model.value import Count, Items, Value

Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[Items[Number], Field(max_length=COLUMNS_MOST)]


class ModelBlock(Value):
    """A party's part of a model, in the units of its own columns; a logit is the sum of what all owners add.

    An owner adds (value − mean) / spread · weight for each column, clipped to ±8 before the weight, and the label client the
    constant besides. `label` is mean and spread of a linear model's label: what the model answers is times spread, plus mean.
    """

    party: PartyName | Literal[""] = ""
    model: Literal["logistic", "linear"]
    steps: Count
    columns: Annotated[Items[ColumnName], Field(max_length=COLUMNS_MOST)]
    mean: Numbers
    spread: Numbers
    weights: Numbers
    constant: Number | None = None
    label: Annotated[Items[Number], Field(min_length=2, max_length=2)] | None = None
