//! Stories of several cores that pass messages in memory: each tells what happened, in which order, and
//! what must hold. The simulation in `tests/sim` looks for orders that nobody thought of; these are
//! those somebody did.

mod change;
mod damage;
mod disk;
mod hostile;
mod leading;
mod member;
mod mending;
mod opening;
mod registry;
mod restoring;
mod stage;
mod storm;
mod take_over;
