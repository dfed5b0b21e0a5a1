//! Payloads: what one selector selects of one environment, rendered once for everybody.
//!
//! Rendering happens outside of the async workers; whoever asks meanwhile waits for the same result. A payload whose
//! text did not change stays the same payload, so that streams can tell by looking at it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use super::translations::Translations;
use crate::eval::translate::{self, PAYLOAD_BYTES_MAX};
use crate::flag::key::EnvironmentName;
use crate::serve::metrics::SyncMetrics;
use crate::serve::selection::{Selection, Selector};
use crate::snapshot::Snapshot;
use crate::snapshot::hub::Hub;

/// Selectors whose payloads are kept for one environment; any text can be one.
const SELECTORS_MAX: usize = 64;

/// What clients are sent.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    /// The JSON document.
    pub(super) body: Bytes,
    /// The quoted SHA-256 of the document.
    pub(super) etag: Arc<str>,
}

impl Payload {
    /// Takes a document.
    pub(super) fn new(text: String) -> Self {
        let mut etag = String::with_capacity(66);
        etag.push('"');
        for byte in Sha256::digest(text.as_bytes()) {
            // Writing into a string does not fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { body: text.into(), etag: etag.into() }
    }
}

/// The payloads of all environments.
#[derive(Debug)]
pub(super) struct Payloads {
    hub: Arc<Hub>,
    tasks: TaskTracker,
    metrics: SyncMetrics,
    places: Mutex<HashMap<EnvironmentName, Arc<tokio::sync::Mutex<Place>>>>,
}

/// One environment.
#[derive(Debug, Default)]
struct Place {
    translations: Translations,
    translated: Weak<Snapshot>,
    documents: BTreeMap<String, Document>,
}

/// The payload of one selector.
#[derive(Debug)]
struct Document {
    of: Weak<Snapshot>,
    payload: Payload,
}

/// A selector as text, one for all ways to write it.
pub(super) fn canonical(selector: Selector<'_>) -> String {
    selector.reflected().map(|(key, value)| format!("{key}={value}")).unwrap_or_default()
}

impl Payloads {
    /// Renders what `hub` holds.
    pub(super) fn new(hub: Arc<Hub>, tasks: TaskTracker, metrics: SyncMetrics) -> Self {
        Self { hub, tasks, metrics, places: Mutex::default() }
    }

    /// The payload of now; none where there is no such environment. `selector` is canonical.
    pub(super) async fn current(&self, environment: &EnvironmentName, selector: &str) -> Option<Payload> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(environment.clone()).or_default())
        };
        let place = place.lock_owned().await;
        // Only now: whoever waited wants the newest.
        let snapshot = self.hub.current(environment)?;
        if let Some(document) = place.documents.get(selector)
            && is(&document.of, &snapshot)
        {
            return Some(document.payload.clone());
        }
        let (selector, metrics) = (selector.to_owned(), self.metrics.clone());
        let rendering = self.tasks.spawn_blocking(move || render(place, &snapshot, selector, &metrics));
        rendering.await.ok()
    }
}

fn is(held: &Weak<Snapshot>, snapshot: &Arc<Snapshot>) -> bool {
    std::ptr::eq(held.as_ptr(), Arc::as_ptr(snapshot))
}

fn render(
    mut place: OwnedMutexGuard<Place>,
    snapshot: &Arc<Snapshot>,
    selector: String,
    metrics: &SyncMetrics,
) -> Payload {
    if !is(&place.translated, snapshot) {
        place.translations.update(snapshot);
        place.translated = Arc::downgrade(snapshot);
    }
    let text = document(&place.translations, snapshot, &selector);
    let before = place.documents.get(&selector).map(|document| document.payload.clone());
    let payload = match before.clone() {
        Some(before) if before.body == text.as_bytes() => before,
        _ => Payload::new(text),
    };
    let bytes = payload.body.len();
    if bytes > PAYLOAD_BYTES_MAX && before.is_none_or(|before| before.body.len() != bytes) {
        tracing::warn!(
            environment = %snapshot.environment,
            bytes,
            "the payload for flagd clients comes near the 4 MB that they take: \
             split the flags into flag sets and let clients select theirs (`flagSetId=…`)"
        );
    }
    if place.documents.len() >= SELECTORS_MAX && !place.documents.contains_key(&selector) {
        place.documents.clear();
    }
    place.documents.insert(selector, Document { of: Arc::downgrade(snapshot), payload: payload.clone() });
    let current = place.documents.values().filter(|document| is(&document.of, snapshot));
    let largest = current.map(|document| document.payload.body.len()).max().unwrap_or(0);
    metrics.rendered(&snapshot.environment, place.translations.left_out(), largest);
    payload
}

/// The document: the selected flags that have a translation, by key.
fn document(translations: &Translations, snapshot: &Snapshot, selector: &str) -> String {
    let selector = Selector::parse(Some(selector)).unwrap_or(Selector::Everything);
    let flags = Selection::of(snapshot, selector).iter();
    translate::payload(flags.filter_map(|flag| Some((flag.id().key.as_str(), translations.get(flag.id())?))))
}
