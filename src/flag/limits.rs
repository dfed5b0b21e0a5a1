//! Named maxima, each with its reason. The same constants bind the file, the API and the subscriber, so that what one
//! of them accepts the others never refuse.

/// Bytes of a flag, variant, segment or flag-set name: fits a URL segment, a header and a table column.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of an environment name: stands in URLs, settings and labels.
pub const ENVIRONMENT_BYTES_MAX: usize = 64;
/// Bytes of one flag file or import: 100,000 ordinary flags fit, a mistaken upload does not fill the memory.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How deeply a condition or a chain of segments and prerequisites may nest: keeps recursion far from the end of the
/// stack and explanations readable.
pub const NESTING_MAX: usize = 32;
/// How deeply a document may nest, flagd's `targeting` in it: forty `if`s inside each other, as tools write them. JSON
/// readers that count levels stop at 128, and records and payloads lay a few levels around a definition.
pub const DOCUMENT_NESTING_MAX: usize = 96;
/// How many nodes YAML aliases may add to a document: generous for people, hopeless for a "billion laughs".
pub const ALIAS_NODES_MAX: usize = 10_000;
/// Rules in one flag: beyond it, evaluation stops being a matter of nanoseconds and people stop reading.
pub const RULES_MAX: usize = 1_000;
/// Conditions in one flag or segment, nested ones counted.
pub const CONDITIONS_MAX: usize = 10_000;
/// Conditions that one evaluation may look at, where those of segments and prerequisites count each time they are
/// named: a millisecond at worst, while thirty-two segments that each name the next one twice would take hours.
pub const STEPS_MAX: u64 = 100_000;
/// Values in one `in` list: 10,000 targets are a segment service's work, not a flag's.
pub const LIST_VALUES_MAX: usize = 10_000;
/// Variants of one flag.
pub const VARIANTS_MAX: usize = 256;
/// Bytes of one regular expression as written.
pub const REGEX_BYTES_MAX: usize = 1024;
/// Bytes of one compiled regular expression; the `regex` crate's own default is 10 MiB, which 100 flags would turn
/// into a gigabyte.
pub const REGEX_COMPILED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of states that one regular expression may cache while it runs, per thread; beyond it matching gets slower,
/// never wrong. The crate's own default is 2 MiB.
pub const REGEX_CACHE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an attribute value that a regular expression looks at; longer values do not match.
pub const REGEX_HAYSTACK_BYTES_MAX: usize = 4096;
/// Prerequisites of one flag.
pub const REQUIRES_MAX: usize = 32;
/// Flags in one environment.
pub const FLAGS_MAX: usize = 100_000;
/// Segments in one environment.
pub const SEGMENTS_MAX: usize = 10_000;
/// Bytes of a description, owner, tag, reason or other free text.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Tags of one flag.
pub const TAGS_MAX: usize = 64;
/// Diagnostics reported for one document; the rest is counted.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Attributes of one evaluation context, nested ones counted.
pub const CONTEXT_ATTRIBUTES_MAX: usize = 1024;
/// How deeply an evaluation context may nest.
pub const CONTEXT_NESTING_MAX: usize = 16;

/// Values in one JSONLogic rule, nested ones counted and `$ref` put in place: five lists of 10,000 names.
pub const LOGIC_VALUES_MAX: usize = 50_000;
/// Steps that the JSONLogic of one evaluation may take: a step is an operator, an element of a list that is looked at,
/// or 64 bytes of a text that is made or compared. A few milliseconds at worst, while `map` inside of `map` over a full
/// context would take minutes; beyond it the answer is the error GENERAL.
pub const LOGIC_STEPS_MAX: u64 = 100_000;
/// How deeply the lists may nest that JSONLogic makes: a `reduce` could wrap its accumulator once for each element.
pub const LOGIC_MADE_NESTING_MAX: u32 = 64;
/// Values that `$ref` may add to one document: generous for people, while an evaluator of a few lines that is named
/// everywhere would fill the memory.
pub const EVALUATOR_VALUES_MAX: usize = 500_000;
/// Bytes of text that `$ref` may add to one document.
pub const EVALUATOR_BYTES_MAX: usize = FILE_BYTES_MAX;

const _: () = assert!(KEY_BYTES_MAX <= TEXT_BYTES_MAX);
const _: () = assert!(REGEX_BYTES_MAX <= REGEX_COMPILED_BYTES_MAX);
const _: () = assert!(CONTEXT_NESTING_MAX <= NESTING_MAX && NESTING_MAX <= DOCUMENT_NESTING_MAX);
const _: () = assert!(DOCUMENT_NESTING_MAX + 16 <= 128);
