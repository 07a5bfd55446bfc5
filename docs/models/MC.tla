---------------------------------- MODULE MC ----------------------------------
(* The sizes in which Partition is looked at: every configuration chooses of these. *)
EXTENDS Partition, TLC

CONSTANTS n1, n2, n3, n4

Three == {n1, n2, n3}
Four == {n1, n2, n3, n4}

None == {}
(* n4 comes, for n2 or n3 or as one more. *)
Replaced == {{n1, n2, n4}, {n1, n3, n4}}
Grown == {{n1, n2, n3, n4}, {n1, n2, n3}}

(* Names of nodes do not matter, but for n1, which leads first, and n4, which comes. *)
Alike == Permutations({n2, n3})
===============================================================================
