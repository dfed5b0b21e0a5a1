//! Named maxima of the protocol, each with its reason. Both sides keep to them; a client takes at least what a server
//! may send.

use crate::flag::limits::{FLAGS_MAX, SEGMENTS_MAX};

/// Bytes of objects after which a chunk is closed: small enough that a kill never waits long behind one, large enough
/// that framing costs nothing.
pub const CHUNK_BYTES: usize = 32 * 1024;
/// Objects after which a chunk is closed, so that tombstones, which are tiny, do not make one endless.
pub const CHUNK_OBJECTS: usize = 1024;
/// Entries of one part of a kill set.
pub const KILL_PART_ENTRIES: usize = 4096;
/// Bytes of keys after which a part of a kill set is closed.
pub const KILL_PART_BYTES: usize = 128 * 1024;
/// Entries of a kill set that a client takes: every flag may be killed.
pub const KILL_ENTRIES_MAX: usize = FLAGS_MAX * 2;
/// Objects that a client takes: what an environment may hold, and as much again for kinds to come.
pub const OBJECTS_MAX: usize = (FLAGS_MAX + SEGMENTS_MAX) * 2;
/// Bytes of an instance id, a library's name and version, a label.
pub const WORD_BYTES_MAX: usize = 64;
/// Bytes of a subscriber's name and of a reason to leave.
pub const NAME_BYTES_MAX: usize = 256;
/// Labels of one subscriber.
pub const LABELS_MAX: usize = 8;
/// Bytes of one error message of a client.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Refused objects that one acknowledgement names; the rest is left out.
pub const REJECTED_MAX: usize = 1000;
/// Digests of past revisions that a view keeps to judge resume tokens. An older token costs a full transfer.
pub const HISTORY_MAX: usize = 4096;
/// Full transfers that a client may ask for between two acknowledgements before its stream is ended: one that can never
/// verify what it gets must not load the server without end.
pub const RESYNCS_MAX: u32 = 3;
/// Pings that may wait for their answer; more are answered with the newest.
pub const PINGS_MAX: usize = 4;
