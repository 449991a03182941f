"""The row of a recogniser; nothing else, for every process imports it."""

from edge_mer.contract.recognisers import RecogniserRow

PARROT = RecogniserRow(name="parrot", module="toy_package")
