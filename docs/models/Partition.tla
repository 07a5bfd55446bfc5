------------------------------ MODULE Partition ------------------------------
(* One partition under the rules of docs/replication.md: its record in the        *)
(* registry, the logs of its nodes in memory and on disk, those who lead or want   *)
(* to, and what was committed and answered. R and I name rules and invariants      *)
(* there; README.md tells what is left out, and why no message is modelled.        *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
  Nodes,
  First,           \* leads the first epoch
  FirstEnsemble,   \* and with these
  FirstCommit,     \* of whom so many make a commit
  Ensembles,       \* what a change may make of an ensemble
  Commits,         \* the commit quorums that a later epoch may begin with
  Keys,            \* idempotency keys; whatever carries key 1 ends the chat
  EpochMax,
  CrashMax,        \* so often a process ends and loses what it had not synced
  DamageMax,       \* so often a disk loses synced entries on top of that
  DamagedPromise,  \* whether it may lose the promise with them
  WipeMax,         \* so often a node comes back with an empty data directory
  Broken           \* the rules that are broken; none is as built

VARIABLES
  reg,        \* the record (R1-R4)
  mem,        \* of each node: log, promise, what it verified in the promised epoch, damage
  disk,       \* of each node: what a crash leaves of log and promise
  lead,       \* of each node: what it does as candidate or primary, or Idle
  committed,  \* entries that were ever committed
  answered,   \* what clients were told
  wiped,      \* nodes whose store is not the one the record names
  last,       \* the last epoch that was open, as it was: what R1 must know
  bad         \* how many crashes, damages and wipes there were

vars == <<reg, mem, disk, lead, committed, answered, wiped, last, bad>>

Resume      == "resume" \in Broken        \* R5
OwnEnd      == "ack-end" \in Broken       \* R8
EarlyAck    == "ack-early" \in Broken     \* R8
AnyAck      == "ack-any-epoch" \in Broken \* R8
ByNode      == "count-nodes" \in Broken   \* R8
Learners    == "count-learners" \in Broken \* R8
SealFirst   == "seal-first" \in Broken    \* R10
NoFence     == "no-fence" \in Broken      \* R7, R10
NoBarrier   == "no-barrier" \in Broken    \* R14
PrevSealing == "prev-sealing" \in Broken  \* R1
NewQuorum   == "new-quorum" \in Broken    \* R2
InPlace     == "in-place" \in Broken      \* R3
EarlyServe  == "early-serve" \in Broken   \* R25
BlindWrite  == "blind-write" \in Broken   \* R25
TrustDamage == "trust-damage" \in Broken  \* R34
SoonWhole   == "soon-whole" \in Broken    \* R34
NoRegistry  == "no-registry" \in Broken   \* R34

-------------------------------------------------------------------------------
(* Logs. An entry is [e: epoch, k: key]; key 0 is an opening entry. The chain of    *)
(* the code is not needed: Chains below says that equal places have equal pasts.    *)

Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b
Cut(log, i) == SubSeq(log, 1, i)
EpochAt(log, i) == IF i = 0 THEN 0 ELSE log[i].e
EndOf(log) == [e |-> EpochAt(log, Len(log)), i |-> Len(log)]
Above(a, b) == a.e > b.e \/ (a.e = b.e /\ a.i > b.i)
KeysOf(log) == {log[i].k : i \in 1..Len(log)} \ {0}
Shared(a, b) == CHOOSE i \in 0..Min(Len(a), Len(b)) :
  /\ Cut(a, i) = Cut(b, i)
  /\ i < Min(Len(a), Len(b)) => a[i + 1] # b[i + 1]

Idle == [e |-> 0, does |-> "nothing"]
Nothing == [e |-> 0, i |-> 0, of |-> First]
Nobody == [n \in Nodes |-> 0]

(* Whoever has no accident before it may sync at once: a later sync is then only a   *)
(* later message.                                                                    *)
Calm == bad.crash = CrashMax /\ bad.damage = DamageMax
OnDisk(m) == [log |-> m.log, p |-> m.p, damaged |-> m.damaged]
Kept(n, m) == IF Calm THEN OnDisk(m) ELSE disk[n]

(* The store that the record names. *)
Counts(n, ensemble) == n \in ensemble /\ (n \notin wiped \/ ByNode)

-------------------------------------------------------------------------------
(* Who leads, what its members hold, and what follows from that. Acknowledgements    *)
(* and commits are worked out as soon as they can be: late ones promise less.        *)

Leads(l) == l.does \in {"copy", "ask", "open"}

(* What so many members as make a commit hold. *)
Level(l, log) ==
  LET voters == IF Learners THEN Nodes ELSE {n \in l.ens : Counts(n, l.ens)}
  IN Cardinality({i \in 1..Len(log) : Cardinality({n \in voters : l.held[n] >= i}) >= l.c})

(* R25: who answers. *)
Serves(l) == l.does = "open" \/ (EarlyServe /\ l.does = "ask")

(* What follows from what its members hold: once that is the opening entry, the        *)
(* registry is asked to open the record; R9: while it serves, all of it is committed.  *)
Counted(l, log) ==
  LET level == Level(l, log)
      m == IF l.does = "copy" /\ level >= l.opening THEN [l EXCEPT !.does = "ask"] ELSE l
  IN IF Serves(m) THEN [m EXCEPT !.commit = Max(@, Max(level, l.opening))] ELSE m

(* What n holds is told to whose epoch it was verified in. *)
Told(ld, logs, n, v) == [p \in Nodes |->
  IF v.i > 0 /\ v.of = p /\ Leads(ld[p]) /\ (ld[p].e = v.e \/ AnyAck) /\ v.i > ld[p].held[n]
  THEN Counted([ld[p] EXCEPT !.held[n] = Min(v.i, Len(logs[p].log))], logs[p].log)
  ELSE ld[p]]

Claimed(m) == IF OwnEnd THEN [m.v EXCEPT !.i = Len(m.log)] ELSE m.v

Committed(l) == IF Serves(l) THEN l.commit ELSE 0

Places(log, i) == {[i |-> j, e |-> log[j].e, k |-> log[j].k] : j \in 1..i}

(* What may be said of a log up to i: its messages are stored, and if the chat has   *)
(* ended, no other key ever will be.                                                 *)
Sayings(log, i) ==
  {[says |-> "stored", at |-> p] : p \in {q \in Places(log, i) : q.k # 0}}
  \cup (IF \E j \in 1..i : log[j].k = 1
        THEN {[says |-> "refused", key |-> k] : k \in Keys \ KeysOf(log)} ELSE {})

(* What is committed now and was not before this step. *)
Settle(ld, logs) ==
  LET more == {n \in Nodes : Committed(ld[n]) > Committed(lead[n]) \/ ld[n].e > lead[n].e}
  IN /\ committed' = committed \cup UNION {Places(logs[n].log, Committed(ld[n])) : n \in more}
     /\ answered' = answered \cup UNION {Sayings(logs[n].log, Committed(ld[n])) : n \in more}

Deposed(ld, n, epoch) == IF ld[n].e < epoch THEN [ld EXCEPT ![n] = Idle] ELSE ld

-------------------------------------------------------------------------------
Entry(e, k) == [e |-> e, k |-> k]

Init ==
  /\ reg = [e |-> 1, open |-> TRUE, p |-> First, ens |-> FirstEnsemble, c |-> FirstCommit,
            pens |-> FirstEnsemble, pc |-> FirstCommit]
  /\ LET begun == <<Entry(1, 0)>>
         \* Who joins later has nothing.
         log == [n \in Nodes |-> IF n \in FirstEnsemble THEN begun ELSE <<>>]
         p == [n \in Nodes |-> IF n \in FirstEnsemble THEN 1 ELSE 0]
         v == [n \in Nodes |-> IF n \in FirstEnsemble THEN [e |-> 1, i |-> 1, of |-> First] ELSE Nothing]
     IN /\ mem = [n \in Nodes |-> [log |-> log[n], p |-> p[n], v |-> v[n], damaged |-> FALSE]]
        /\ disk = [n \in Nodes |-> [log |-> log[n], p |-> p[n], damaged |-> FALSE]]
        /\ lead = [n \in Nodes |-> IF n # First THEN Idle ELSE
             [e |-> 1, does |-> "open", ens |-> FirstEnsemble, c |-> FirstCommit, opening |-> 1, commit |-> 1,
              held |-> [m \in Nodes |-> v[m].i]]]
  /\ committed = {[i |-> 1, e |-> 1, k |-> 0]}
  /\ answered = {}
  /\ wiped = {}
  /\ last = [ens |-> FirstEnsemble, c |-> FirstCommit]
  /\ bad = [crash |-> 0, damage |-> 0, wipe |-> 0]

(* R1: what a record says of the last open epoch. *)
LastOpen == IF reg.open \/ PrevSealing THEN [ens |-> reg.ens, c |-> reg.c]
            ELSE [ens |-> reg.pens, c |-> reg.pc]

(* A node writes the next epoch over the record it knows, by compare-and-set, and    *)
(* promises it: its own seal. What it had verified before is told with that sync.    *)
Begin(n, ensemble, quorum) ==
  LET epoch == reg.e + 1
      prev == LastOpen
      m == [mem[n] EXCEPT !.p = epoch, !.v = Nothing]
      own == [n |-> n, end |-> EndOf(m.log), damaged |-> m.damaged]
  IN /\ epoch <= EpochMax /\ quorum <= Cardinality(ensemble)
     /\ reg' = [e |-> epoch, open |-> FALSE, p |-> n, ens |-> ensemble, c |-> quorum,
                pens |-> prev.ens, pc |-> prev.c]
     /\ mem' = [mem EXCEPT ![n] = m]
     /\ disk' = [disk EXCEPT ![n] = OnDisk(m)]
     /\ lead' = [Told(lead, mem, n, Claimed(mem[n])) EXCEPT ![n] =
          [e |-> epoch, does |-> "seal", ens |-> ensemble, c |-> quorum,
           pens |-> prev.ens, pc |-> prev.c, sealed |-> {own}]]
     /\ Settle(lead', mem')
     /\ UNCHANGED <<wiped, last, bad>>

(* A take-over: somebody of the last open ensemble, which stays as it was. *)
TakeOver(n) ==
  /\ Counts(n, LastOpen.ens)
  /\ reg.e >= mem[n].p
  /\ ~(lead[n].does = "open" /\ lead[n].e = reg.e)
  /\ \E quorum \in Commits : Begin(n, LastOpen.ens, quorum)

(* A change: the same primary, at most one member more and one less. The code waits    *)
(* before until everything is committed and the new member has it, so that nobody has  *)
(* to wait after; nothing here depends on that.                                       *)
Near(a, b) == Cardinality(a \ b) <= 1 /\ Cardinality(b \ a) <= 1

Change(n) ==
  /\ lead[n].does = "open" /\ reg.open /\ reg.e = lead[n].e
  /\ \E ensemble \in Ensembles : \E quorum \in Commits :
       /\ n \in ensemble /\ ensemble # reg.ens /\ Near(ensemble, reg.ens)
       /\ IF InPlace
          THEN /\ reg' = [reg EXCEPT !.ens = ensemble, !.c = quorum]
               /\ lead' = [lead EXCEPT ![n] = Counted([@ EXCEPT !.ens = ensemble, !.c = quorum], mem[n].log)]
               /\ last' = [ens |-> ensemble, c |-> quorum]
               /\ Settle(lead', mem)
               /\ UNCHANGED <<mem, disk, wiped, bad>>
          ELSE Begin(n, ensemble, quorum)

(* A member of the last open epoch promises the new one. Its answer covers what was    *)
(* queued before, which is synced and acknowledged first (R10).                       *)
Seal(c, n) ==
  /\ lead[c].does = "seal" /\ n # c
  /\ Counts(n, lead[c].pens)
  /\ \A told \in lead[c].sealed : told.n # n
  /\ NoFence \/ (mem[n].p <= lead[c].e /\ lead[n].e < lead[c].e)
  /\ LET epoch == lead[c].e
         log == IF SealFirst THEN disk[n].log ELSE mem[n].log
         told == [n |-> n, end |-> EndOf(log), damaged |-> mem[n].damaged]
         acks == IF SealFirst THEN lead ELSE Told(lead, mem, n, Claimed(mem[n]))
     IN /\ mem' = [mem EXCEPT ![n].p = Max(@, epoch),
                              ![n].v = IF SealFirst \/ mem[n].p >= epoch THEN @ ELSE Nothing]
        /\ disk' = [disk EXCEPT ![n] = [OnDisk(mem'[n]) EXCEPT !.log = log]]
        /\ lead' = [Deposed(acks, n, epoch) EXCEPT ![c].sealed = @ \cup {told}]
  /\ Settle(lead', mem')
  /\ UNCHANGED <<reg, wiped, last, bad>>

(* R2 and R34: whether a seal is enough. *)
Needed(l) == Max(1, Cardinality(l.pens) + 1 - (IF NewQuorum THEN l.c ELSE l.pc))
Sound(l) == IF TrustDamage THEN l.sealed ELSE {told \in l.sealed : ~told.damaged}
Enough(l) == Cardinality(Sound(l)) >= Needed(l) \/ {told.n : told \in l.sealed} = l.pens

(* The best end: the highest epoch, then the longest; its own, if it is one of those. *)
Best(l, c) ==
  LET ends == {told \in l.sealed : \A other \in l.sealed : ~Above(other.end, told.end)}
      own == {told \in ends : told.n = c}
  IN IF own # {} THEN own ELSE ends

(* The best log becomes this node's: it fetches what it lacks, and appends the opening *)
(* entry. Who gives it has promised this epoch, so its log is what it was.             *)
Adopt(c) ==
  /\ lead[c].does = "seal" /\ reg.e = lead[c].e /\ Enough(lead[c])
  /\ \E best \in Best(lead[c], c) :
     LET l == lead[c]
         log == Append(Cut(mem[best.n].log, best.end.i), Entry(l.e, 0))
         m == [mem[c] EXCEPT !.log = log, !.v = [e |-> l.e, i |-> Len(log), of |-> c], !.damaged = FALSE]
     IN /\ mem[best.n].p = l.e \/ NoFence
        /\ Len(mem[best.n].log) >= best.end.i
        /\ EpochAt(mem[best.n].log, best.end.i) = best.end.e
        /\ mem' = [mem EXCEPT ![c] = m]
        /\ disk' = [disk EXCEPT ![c] = Kept(c, m)]
        /\ lead' = LET copying == [e |-> l.e, does |-> "copy", ens |-> l.ens, c |-> l.c,
                                   opening |-> Len(log), commit |-> 0, held |-> Nobody]
                       ld == [lead EXCEPT ![c] = copying]
                   IN IF Calm \/ EarlyAck THEN Told(ld, mem', c, m.v) ELSE ld
  /\ Settle(lead', mem')
  /\ UNCHANGED <<reg, wiped, last, bad>>

(* C members hold the opening entry: compare-and-set to open. *)
Open(n) ==
  /\ lead[n].does = "ask"
  /\ (reg.e = lead[n].e /\ ~reg.open) \/ BlindWrite
  /\ reg' = IF BlindWrite
            THEN [reg EXCEPT !.e = lead[n].e, !.open = TRUE, !.p = n, !.ens = lead[n].ens, !.c = lead[n].c]
            ELSE [reg EXCEPT !.open = TRUE]
  /\ lead' = [lead EXCEPT ![n] = Counted([@ EXCEPT !.does = "open"], mem[n].log)]
  /\ last' = [ens |-> lead[n].ens, c |-> lead[n].c]
  /\ Settle(lead', mem)
  /\ UNCHANGED <<mem, disk, wiped, bad>>

(* A client's message. The key is looked up in what is appended, and a chat that has    *)
(* ended takes nothing.                                                               *)
Send(n, key) ==
  /\ Serves(lead[n])
  /\ key \notin KeysOf(mem[n].log) /\ 1 \notin KeysOf(mem[n].log)
  /\ LET log == Append(mem[n].log, Entry(lead[n].e, key))
         m == [mem[n] EXCEPT !.log = log, !.v = [e |-> lead[n].e, i |-> Len(log), of |-> n]]
     IN /\ mem' = [mem EXCEPT ![n] = m]
        /\ disk' = [disk EXCEPT ![n] = Kept(n, m)]
        /\ lead' = IF Calm \/ EarlyAck THEN Told(lead, mem', n, m.v) ELSE lead
  /\ Settle(lead', mem')
  /\ UNCHANGED <<reg, wiped, last, bad>>

(* Without the barrier (R14), an answer that was read from appended state. *)
SayEarly(n) ==
  /\ NoBarrier /\ lead[n].does = "open"
  /\ answered' = answered \cup Sayings(mem[n].log, Len(mem[n].log))
  /\ answered' # answered
  /\ UNCHANGED <<reg, mem, disk, lead, committed, wiped, last, bad>>

(* A member, or somebody who is to become one, is given one entry (R7). Its first in an *)
(* epoch is wherever the logs may meet, each other follows the one before.             *)
Deliver(p, n) ==
  /\ Leads(lead[p]) /\ n # p
  /\ n \in wiped => (ByNode \/ n \notin lead[p].ens)
  /\ NoFence \/ (mem[n].p <= lead[p].e /\ lead[n].e < lead[p].e)
  /\ \E i \in 1..Len(mem[p].log) :
       LET l == lead[p]
           old == mem[n].log
           new == mem[p].log[i]
           same == Len(old) >= i /\ old[i].e = new.e
           log == IF same THEN old ELSE Append(Cut(old, i - 1), new)
           whole == /\ EpochAt(log, Len(log)) = l.e /\ Len(log) = i
                    /\ SoonWhole \/ i >= l.commit
           m == [log |-> log, p |-> Max(mem[n].p, l.e), v |-> [e |-> l.e, i |-> i, of |-> p],
                 damaged |-> mem[n].damaged /\ ~whole]
       IN /\ mem[n].v.e = l.e => i = mem[n].v.i + 1
          /\ Len(old) >= i - 1 /\ EpochAt(old, i - 1) = EpochAt(mem[p].log, i - 1)
          /\ mem' = [mem EXCEPT ![n] = m]
          /\ disk' = [disk EXCEPT ![n] = Kept(n, m)]
          /\ lead' = LET ld == Deposed(lead, n, l.e)
                     IN IF Calm \/ EarlyAck THEN Told(ld, mem', n, Claimed(m)) ELSE ld
  /\ Settle(lead', mem')
  /\ UNCHANGED <<reg, wiped, last, bad>>

(* The disk has everything that was queued; then it is acknowledged (R8). *)
Sync(n) ==
  /\ disk' = [disk EXCEPT ![n] = OnDisk(mem[n])]
  /\ lead' = Told(lead, mem, n, Claimed(mem[n]))
  /\ disk' # disk \/ lead' # lead
  /\ mem' = IF SealFirst /\ mem[n].v.e < mem[n].p THEN [mem EXCEPT ![n].v = Nothing] ELSE mem
  /\ Settle(lead', mem')
  /\ UNCHANGED <<reg, wiped, last, bad>>

-------------------------------------------------------------------------------
(* Accidents. *)

(* A process ends, and another begins with what the disk holds: what was synced, and of *)
(* the rest as much as was written. It leads nothing any more (R5).                    *)
Left(n) == {disk[n], OnDisk(mem[n]), [disk[n] EXCEPT !.p = mem[n].p]}
  \cup {[log |-> Cut(mem[n].log, i), p |-> mem[n].p, damaged |-> disk[n].damaged] :
         i \in Shared(disk[n].log, mem[n].log)..Len(mem[n].log)}

Again(n, kept) ==
  [log |-> kept.log, p |-> kept.p, damaged |-> kept.damaged,
   v |-> IF Resume /\ lead[n].does = "open" THEN [e |-> lead[n].e, i |-> Len(kept.log), of |-> n] ELSE Nothing]

Crash(n) ==
  /\ bad.crash < CrashMax
  /\ bad' = [bad EXCEPT !.crash = @ + 1]
  /\ \E kept \in Left(n) :
       /\ disk' = [disk EXCEPT ![n] = kept]
       /\ mem' = [mem EXCEPT ![n] = Again(n, kept)]
  /\ lead' = [lead EXCEPT ![n] = IF Resume /\ @.does = "open" THEN [@ EXCEPT !.held = Nobody] ELSE Idle]
  /\ UNCHANGED <<reg, committed, answered, wiped, last>>

(* The same, and some of what was synced is lost. The primary hears of the new process *)
(* before the process hears of it, and forgets what the old one held.                  *)
Forgotten(ld, n) == [l \in Nodes |-> IF Leads(ld[l]) THEN [ld[l] EXCEPT !.held[n] = 0] ELSE ld[l]]

Damage(n) ==
  /\ bad.damage < DamageMax
  /\ bad' = [bad EXCEPT !.damage = @ + 1]
  /\ \E i \in 0..Len(disk[n].log) - 1 :
       LET log == Cut(disk[n].log, i)
           lost == EpochAt(log, i)..disk[n].p
           \* The record was written before the promise was asked for.
           known == IF NoRegistry THEN 0 ELSE reg.e
           left == IF DamagedPromise THEN {Max(e, known) : e \in lost} ELSE {disk[n].p}
       IN \E p \in left :
            /\ disk' = [disk EXCEPT ![n] = [log |-> log, p |-> p, damaged |-> TRUE]]
            /\ mem' = [mem EXCEPT ![n] = [log |-> log, p |-> p, v |-> Nothing, damaged |-> TRUE]]
  /\ lead' = [Forgotten(lead, n) EXCEPT ![n] = Idle]
  /\ UNCHANGED <<reg, committed, answered, wiped, last>>

(* The data directory is gone: another store comes back under the node's name (R35). *)
Wipe(n) ==
  /\ bad.wipe < WipeMax
  /\ bad' = [bad EXCEPT !.wipe = @ + 1]
  /\ wiped' = wiped \cup {n}
  /\ disk' = [disk EXCEPT ![n] = [log |-> <<>>, p |-> 0, damaged |-> FALSE]]
  /\ mem' = [mem EXCEPT ![n] = [log |-> <<>>, p |-> 0, v |-> Nothing, damaged |-> FALSE]]
  /\ lead' = [Forgotten(lead, n) EXCEPT ![n] = Idle]
  /\ UNCHANGED <<reg, committed, answered, last>>

Next == \E n \in Nodes :
  \/ TakeOver(n) \/ Change(n) \/ Adopt(n) \/ Open(n)
  \/ \E m \in Nodes : Seal(n, m) \/ Deliver(n, m)
  \/ \E key \in Keys : Send(n, key)
  \/ SayEarly(n) \/ Sync(n)
  \/ Crash(n) \/ Damage(n) \/ Wipe(n)

Spec == Init /\ [][Next]_vars

-------------------------------------------------------------------------------
(* What must hold. *)

(* I1 and I10: equal places have equal contents, and equal pasts. *)
Chains == \A a, b \in Nodes : a # b => \A i \in 1..Min(Len(mem[a].log), Len(mem[b].log)) :
  mem[a].log[i].e = mem[b].log[i].e =>
    /\ mem[a].log[i].k = mem[b].log[i].k
    /\ i > 1 => mem[a].log[i - 1] = mem[b].log[i - 1]

(* I2: whoever leads the newest epoch has everything that was committed. *)
Newest(n) == Leads(lead[n]) /\ lead[n].e = reg.e
In(log, place) == Len(log) >= place.i /\ log[place.i] = Entry(place.e, place.k)
Stays == \A n \in Nodes : Newest(n) => \A place \in committed : In(mem[n].log, place)

(* One place has one content, for ever. *)
OneOrder == \A a, b \in committed : a.i = b.i => a = b

(* I5: one process leads an epoch. *)
OneLeader == \A a, b \in Nodes : a # b /\ lead[a].e = lead[b].e => lead[a].e = 0

(* I6: whom a seal that is enough does not meet are too few for a commit of the last      *)
(* epoch that was open.                                                               *)
Meets == \A n \in Nodes : (lead[n].does = "seal" /\ lead[n].e = reg.e /\ Enough(lead[n])) =>
  Cardinality(last.ens \ {told.n : told \in lead[n].sealed}) < last.c

(* I7: what was answered never goes missing. *)
Keeps == \A n \in Nodes : Newest(n) =>
  \A says \in answered : says.says = "stored" => In(mem[n].log, says.at)

(* A key that was refused is never stored, and one that was stored is so once. *)
Refused == \A says \in answered : says.says = "refused" => \A place \in committed : place.k # says.key
Once == \A a, b \in committed : (a.k = b.k /\ a.k # 0) => a.i = b.i

(* I3: promises do not fall, unless the disk lost them. *)
Promises == [][\A n \in Nodes : disk'[n].p >= disk[n].p \/ bad' # bad]_vars

(* Not an invariant: it must be broken, or nothing was looked at. A key is committed in  *)
(* the last epoch, after one that was committed before it.                             *)
Dull == ~\E a, b \in committed : a.e < b.e /\ b.e = EpochMax /\ a.k # 0 /\ b.k # 0
===============================================================================
