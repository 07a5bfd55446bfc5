//! Value files, group commit, partition logs on disk, recovery.
