//! Membership, partition records, compare-and-set and watch.
