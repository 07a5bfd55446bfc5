//! What is counted. Looked up once: a send counts without searching.

use metrics::{Counter, Histogram, counter, histogram};

/// The meters of one node's chats.
pub(crate) struct Meters {
    /// Sends that were stored.
    pub(crate) stored: Counter,
    /// Sends that a handler refused.
    pub(crate) refused: Counter,
    /// Sends that were answered as before.
    pub(crate) replayed: Counter,
    /// Sends of which nothing was appended.
    pub(crate) not_committed: Counter,
    /// Sends whose outcome nobody knows.
    pub(crate) unknown: Counter,
    /// How long a stored send took.
    pub(crate) send_seconds: Histogram,
    /// Pages read.
    pub(crate) pages: Counter,
    /// Messages read from the log, because they were not in memory any more.
    pub(crate) disk_messages: Counter,
    /// Readers who were told that what they had seen was withdrawn.
    pub(crate) gaps: Counter,
    /// Requests sent on to another node.
    pub(crate) forwarded: Counter,
    /// Requests sent on whose node had said nothing when somebody else led already.
    pub(crate) overtaken: Counter,
    /// Requests that started again, because the epoch ended under them.
    pub(crate) restarted: Counter,
    /// Turns that were not played, because the chat has seen later handlers than this node has.
    pub(crate) behind: Counter,
    /// Timers and holds that ended by themselves.
    pub(crate) expired: Counter,
    /// Events that were told.
    pub(crate) told: Counter,
    /// Events that nobody is told of, because too many wait in their chat.
    pub(crate) events_dropped: Counter,
    /// Calls of handlers of events that failed, or asked for what does not fit.
    pub(crate) events_failed: Counter,
    /// Replies to calls that their plugins could not be given.
    pub(crate) replies_given_up: Counter,
    /// Requests of Twilio that a handler answered.
    pub(crate) twilio_answered: Counter,
    /// Requests of Twilio that were answered as before.
    pub(crate) twilio_repeated: Counter,
    /// Requests of Twilio whose handler failed, or asked for what does not fit.
    pub(crate) twilio_failed: Counter,
    /// Messages that were taken back.
    pub(crate) redacted: Counter,
    /// Attachments that were deleted, because no message names them any more.
    pub(crate) detached: Counter,
    /// Participants who were silent for too long.
    pub(crate) silent: Counter,
    /// Looks at what is due in a chat that did not end in an entry.
    pub(crate) tended_again: Counter,
    /// Chats that were ended because their time was over.
    pub(crate) expired_chats: Counter,
    /// Chats that were ended because they never started.
    pub(crate) idle_chats: Counter,
    /// Chats that were forgotten, because they had been over for long.
    pub(crate) forgotten: Counter,
    /// Attempts to end or to forget a chat, or to delete what belonged to it, that failed.
    pub(crate) collect_failed: Counter,
    /// Logs that were trimmed.
    pub(crate) trimmed: Counter,
    /// Chats that a policy made a plan for.
    pub(crate) planned: Counter,
    /// Times that a policy was asked about a chat that goes on.
    pub(crate) stood: Counter,
    /// Chats that were archived by this node.
    pub(crate) archived: Counter,
    /// Plans that were carried out.
    pub(crate) kept: Counter,
    /// Attempts to plan for a chat or to carry it out that failed.
    pub(crate) keep_failed: Counter,
    /// Chats that were left alone for a while, because all attempts failed.
    pub(crate) unkept: Counter,
    /// How long folding a partition's log took.
    pub(crate) load_seconds: Histogram,
    /// How long making and keeping a snapshot of a partition took.
    pub(crate) snapshot_seconds: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let sends = |outcome: &'static str| counter!("carillon_sends_total", "outcome" => outcome);
        let twilio =
            |outcome: &'static str| counter!("carillon_twilio_turns_total", "outcome" => outcome);
        Self {
            stored: sends("stored"),
            refused: sends("refused"),
            replayed: sends("replayed"),
            not_committed: sends("not-committed"),
            unknown: sends("unknown"),
            send_seconds: histogram!("carillon_send_seconds"),
            pages: counter!("carillon_pages_total"),
            disk_messages: counter!("carillon_pages_disk_messages_total"),
            gaps: counter!("carillon_readers_gaps_total"),
            forwarded: counter!("carillon_requests_forwarded_total"),
            overtaken: counter!("carillon_requests_overtaken_total"),
            restarted: counter!("carillon_requests_restarted_total"),
            behind: counter!("carillon_turns_behind_generation_total"),
            expired: counter!("carillon_deadlines_expired_total"),
            told: counter!("carillon_events_told_total"),
            events_dropped: counter!("carillon_events_dropped_total"),
            events_failed: counter!("carillon_events_failed_total"),
            replies_given_up: counter!("carillon_replies_given_up_total"),
            twilio_answered: twilio("answered"),
            twilio_repeated: twilio("repeated"),
            twilio_failed: twilio("failed"),
            redacted: counter!("carillon_messages_redacted_total"),
            detached: counter!("carillon_attachments_removed_total"),
            silent: counter!("carillon_participants_silent_total"),
            tended_again: counter!("carillon_chats_tended_again_total"),
            expired_chats: counter!("carillon_chats_collected_total", "why" => "expired"),
            idle_chats: counter!("carillon_chats_collected_total", "why" => "idle"),
            forgotten: counter!("carillon_chats_forgotten_total"),
            collect_failed: counter!("carillon_chats_collect_failed_total"),
            trimmed: counter!("carillon_logs_trimmed_total"),
            planned: counter!("carillon_chats_planned_total"),
            stood: counter!("carillon_chats_standing_total"),
            archived: counter!("carillon_chats_archived_total"),
            kept: counter!("carillon_chats_kept_total"),
            keep_failed: counter!("carillon_chats_keep_failed_total"),
            unkept: counter!("carillon_chats_unkept_total"),
            load_seconds: histogram!("carillon_partition_load_seconds"),
            snapshot_seconds: histogram!("carillon_snapshot_seconds"),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
