//! The figures of replicated objects.

use metrics::{counter, gauge};

/// An object was stored, by bytes that went to all, or with its entry.
pub(crate) fn stored(bytes: u64, entire: bool) {
    let how = if entire { "entire" } else { "streamed" };
    counter!("carillon_objects_stored_total", "how" => how).increment(1);
    counter!("carillon_objects_stored_bytes_total").increment(bytes);
}

/// A request was refused.
pub(crate) fn refused(code: crate::Code) {
    counter!("carillon_object_refusals_total", "code" => format!("{code:?}")).increment(1);
}

/// A member was dropped from an upload.
pub(crate) fn dropped() {
    counter!("carillon_object_members_dropped_total").increment(1);
}

/// A holder had not what was asked of it, and another one was.
pub(crate) fn next_holder() {
    counter!("carillon_object_holders_failed_total").increment(1);
}

/// Sequences were mended, and segments are still owed.
pub(crate) fn mended(sequences: u64) {
    counter!("carillon_object_sequences_mended_total").increment(sequences);
}

/// So many segments are owed here.
pub(crate) fn owed(segments: usize) {
    gauge!("carillon_objects_owed").set(f64::from(u32::try_from(segments).unwrap_or(u32::MAX)));
}

/// What became of an upload was decided without its coordinator.
pub(crate) fn decided(how: &'static str) {
    counter!("carillon_object_uploads_decided_total", "how" => how).increment(1);
}

/// Somebody said nothing for too long, and was given up: whose upload it was, who should have taken or given
/// bytes, or who read them.
pub(crate) fn stalled(who: &'static str) {
    counter!("carillon_object_streams_stalled_total", "who" => who).increment(1);
}

/// Another node said something that is not of this node's version.
pub(crate) fn not_understood() {
    counter!("carillon_object_not_understood_total").increment(1);
}

/// So many bytes a second of bulk may go to the disk.
pub(crate) fn bulk_rate(bytes: u64) {
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    gauge!("carillon_object_bulk_mib_per_second").set(f64::from(mib));
}

/// An archive of parts of which nothing came any more was given up.
pub(crate) fn unfinished() {
    counter!("carillon_object_unfinished_given_up_total").increment(1);
}

/// What a log says of objects is of a newer version.
pub(crate) fn strange() {
    counter!("carillon_object_entries_strange_total").increment(1);
}

/// So many changes of members may wait until others have all objects.
pub(crate) fn changes_waiting(partitions: u32) {
    gauge!("carillon_object_changes_waiting").set(f64::from(partitions));
}

/// So many partitions of others have something here that is not given back.
pub(crate) fn kept_for_others(partitions: u32) {
    gauge!("carillon_object_partitions_kept").set(f64::from(partitions));
}

/// A member showed other objects than its primary.
pub(crate) fn catalogues_differ() {
    counter!("carillon_object_catalogues_differed_total").increment(1);
}

/// It is not known whether a member shows what its primary does.
pub(crate) fn catalogues_not_compared(why: &'static str) {
    counter!("carillon_object_catalogues_not_compared_total", "why" => why).increment(1);
}

/// So many partitions did when all were compared last.
pub(crate) fn catalogues_differing(partitions: u32) {
    gauge!("carillon_object_catalogues_differing").set(f64::from(partitions));
}

/// What was held of a partition of others is given back.
pub(crate) fn given_back() {
    counter!("carillon_object_partitions_given_back_total").increment(1);
}
