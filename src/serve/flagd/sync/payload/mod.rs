//! Payloads: what one selector selects of one environment, rendered once for everybody.
//!
//! Nobody who asks can make others wait for long, since a kill reaches clients by this way: a selector that selects
//! nothing costs no rendering, so there are no more documents than there are flag sets and sources; each is rendered
//! once per snapshot, outside of the async workers, and whoever asks for another waits for none of that.
//! A payload whose text did not change stays the same payload.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;

use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::translations::Translations;
use crate::eval::translate::{self, PAYLOAD_BYTES_MAX};
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;
use crate::serve::metrics::SyncMetrics;
use crate::serve::selection::{Selection, Selector};
use crate::snapshot::Snapshot;
use crate::snapshot::hub::Hub;

/// Documents that are kept for one environment. Those of all flag sets together are as long as all flags, and so are
/// those of all sources.
const DOCUMENTS_MAX: usize = 1024;

/// The canonical selector of everything. Its document is never dropped and waits for no other.
const EVERYTHING: &str = "";

/// What clients are sent.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    /// The JSON document.
    pub(super) body: Bytes,
    /// The quoted SHA-256 of the document.
    pub(super) etag: Arc<str>,
    /// When the snapshot was published that gave the document this text, as far as that is known.
    pub(super) changed: Option<Timestamp>,
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
        Self { body: text.into(), etag: etag.into(), changed: None }
    }
}

/// The payloads of all environments.
#[derive(Debug)]
pub(super) struct Payloads {
    hub: Arc<Hub>,
    tasks: TaskTracker,
    metrics: SyncMetrics,
    /// What is sent where nothing is selected.
    nothing: Payload,
    /// Renderings at a time, of everything aside.
    room: Arc<Semaphore>,
    places: Mutex<HashMap<EnvironmentName, Arc<Place>>>,
}

/// One environment.
#[derive(Debug, Default)]
struct Place {
    /// Held while a snapshot's flags are translated.
    translating: Arc<tokio::sync::Mutex<()>>,
    shelf: Mutex<Shelf>,
}

/// What is known of one environment. Snapshots are counted as they are seen, so that "as new as that one" can be said.
#[derive(Debug, Default)]
struct Shelf {
    seen: Weak<Snapshot>,
    number: u64,
    view: Option<Arc<View>>,
    documents: HashMap<String, Document>,
    /// Counts questions, so that the document can be found that was not asked for the longest time.
    clock: u64,
}

/// A snapshot whose flags are translated.
#[derive(Debug)]
struct View {
    number: u64,
    snapshot: Arc<Snapshot>,
    translations: Translations,
}

/// The document of one selector.
#[derive(Debug, Default)]
struct Document {
    /// Held by whoever renders it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The newest rendering, and the number of its snapshot.
    held: Option<(u64, Payload)>,
    used: u64,
}

/// The selector of a canonical text.
fn parsed(selector: &str) -> Selector<'_> {
    Selector::parse(Some(selector)).unwrap_or(Selector::Everything)
}

impl Payloads {
    /// Renders what `hub` holds.
    pub(super) fn new(hub: Arc<Hub>, tasks: TaskTracker, metrics: SyncMetrics) -> Self {
        let room = Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from)));
        let nothing = Payload::new(translate::payload([]));
        Self { hub, tasks, metrics, nothing, room, places: Mutex::default() }
    }

    /// The payload of now, or of something newer; none where there is no such environment. `selector` is canonical.
    pub(super) async fn current(&self, environment: &EnvironmentName, selector: &str) -> Option<Payload> {
        let place = self.place(environment);
        let (asked, _) = place.newest(&self.hub, environment)?;
        if let Some(payload) = place.held(selector, asked) {
            return Some(payload);
        }
        if !self.view(&place, environment, asked).await?.selects(selector) {
            return Some(self.nothing.clone());
        }
        let turn = place.turn(selector).lock_owned().await;
        let permit = match selector {
            EVERYTHING => None,
            _ => Some(Arc::clone(&self.room).acquire_owned().await.ok()?),
        };
        // Whoever had the turn before may have rendered what is new enough; whoever has to render, renders the newest.
        if let Some(payload) = place.held(selector, asked) {
            return Some(payload);
        }
        let (newest, _) = place.newest(&self.hub, environment)?;
        let view = self.view(&place, environment, newest).await?;
        let (selector, metrics) = (selector.to_owned(), self.metrics.clone());
        let work = move || render(&place, &view, &selector, &metrics, turn, permit);
        self.tasks.spawn_blocking(work).await.ok()
    }

    fn place(&self, environment: &EnvironmentName) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(environment) {
            return Arc::clone(place);
        }
        Arc::clone(places.entry(environment.clone()).or_default())
    }

    /// The translated flags of the snapshot of that number, or of a newer one.
    async fn view(&self, place: &Arc<Place>, environment: &EnvironmentName, asked: u64) -> Option<Arc<View>> {
        if let Some(view) = place.viewed(asked) {
            return Some(view);
        }
        let turn = Arc::clone(&place.translating).lock_owned().await;
        if let Some(view) = place.viewed(asked) {
            return Some(view);
        }
        let (number, snapshot) = place.newest(&self.hub, environment)?;
        let (place, metrics) = (Arc::clone(place), self.metrics.clone());
        self.tasks.spawn_blocking(move || translated(&place, number, snapshot, &metrics, turn)).await.ok()
    }
}

impl Place {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot of now and its number.
    fn newest(&self, hub: &Hub, environment: &EnvironmentName) -> Option<(u64, Arc<Snapshot>)> {
        let mut shelf = self.shelf();
        // Asked under the lock: so numbers grow in the order of publishing.
        let snapshot = hub.current(environment)?;
        if !std::ptr::eq(shelf.seen.as_ptr(), Arc::as_ptr(&snapshot)) {
            shelf.seen = Arc::downgrade(&snapshot);
            shelf.number += 1;
        }
        Some((shelf.number, snapshot))
    }

    /// The payload of a selector, where it is new enough.
    fn held(&self, selector: &str, asked: u64) -> Option<Payload> {
        let mut shelf = self.shelf();
        shelf.clock += 1;
        let clock = shelf.clock;
        let document = shelf.documents.get_mut(selector)?;
        document.used = clock;
        document.held.as_ref().filter(|(number, _)| *number >= asked).map(|(_, payload)| payload.clone())
    }

    /// The translated flags, where they are new enough.
    fn viewed(&self, asked: u64) -> Option<Arc<View>> {
        self.shelf().view.as_ref().filter(|view| view.number >= asked).map(Arc::clone)
    }

    /// The turns of those who render for a selector.
    fn turn(&self, selector: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.shelf().document(selector).turn)
    }
}

impl Shelf {
    /// The place of a selector's document; another document may have to go for it.
    fn document(&mut self, selector: &str) -> &mut Document {
        self.clock += 1;
        if self.documents.len() >= DOCUMENTS_MAX && !self.documents.contains_key(selector) {
            let others = self.documents.iter().filter(|(selector, _)| selector.as_str() != EVERYTHING);
            let oldest = others.min_by_key(|(_, document)| document.used).map(|(selector, _)| selector.clone());
            oldest.and_then(|oldest| self.documents.remove(&oldest));
        }
        let document = self.documents.entry(selector.to_owned()).or_default();
        document.used = self.clock;
        document
    }

    /// The length of the longest document of a snapshot.
    fn largest(&self, number: u64) -> usize {
        let held = self.documents.values().filter_map(|document| document.held.as_ref());
        held.filter(|(of, _)| *of == number).map(|(_, payload)| payload.body.len()).max().unwrap_or(0)
    }
}

impl View {
    /// False where a selector selects nothing, which is cheap to find out.
    fn selects(&self, selector: &str) -> bool {
        match parsed(selector) {
            Selector::Everything => true,
            Selector::FlagSet(name) => self.snapshot.set.in_flag_set(name).next().is_some(),
            Selector::Source(source) => self.translations.come_from(source),
        }
    }
}

/// Translates a snapshot's flags, beginning with what is known already.
fn translated(
    place: &Place,
    number: u64,
    snapshot: Arc<Snapshot>,
    metrics: &SyncMetrics,
    turn: OwnedMutexGuard<()>,
) -> Arc<View> {
    let before = place.shelf().view.clone();
    let translations = Translations::of(&snapshot, before.as_ref().map(|view| &view.translations));
    metrics.translated(&snapshot.environment, translations.left_out());
    let view = Arc::new(View { number, snapshot, translations });
    let mut shelf = place.shelf();
    shelf.view = Some(Arc::clone(&view));
    shelf.documents.retain(|selector, _| view.selects(selector));
    drop(shelf);
    drop(turn);
    view
}

fn render(
    place: &Place,
    view: &View,
    selector: &str,
    metrics: &SyncMetrics,
    turn: OwnedMutexGuard<()>,
    permit: Option<OwnedSemaphorePermit>,
) -> Payload {
    let text = document(view, selector);
    let before = place.shelf().documents.get(selector).and_then(|document| document.held.clone());
    let before = before.map(|(_, payload)| payload);
    let payload = match &before {
        Some(before) if before.body == text.as_bytes() => before.clone(),
        _ => Payload { changed: Some(view.snapshot.published_at), ..Payload::new(text) },
    };
    let bytes = payload.body.len();
    let environment = &view.snapshot.environment;
    if bytes > PAYLOAD_BYTES_MAX && before.is_none_or(|before| before.body.len() != bytes) {
        tracing::warn!(
            %environment,
            bytes,
            "the payload for flagd clients comes near the 4 MB that they take: \
             split the flags into flag sets and let clients select theirs (`flagSetId=…`)"
        );
    }
    let mut shelf = place.shelf();
    let document = shelf.document(selector);
    // A newer one may stand there, where the document was dropped meanwhile and somebody else rendered it again.
    if document.held.as_ref().is_none_or(|(number, _)| *number <= view.number) {
        document.held = Some((view.number, payload.clone()));
    }
    metrics.rendered(environment, shelf.largest(view.number));
    drop(shelf);
    drop((turn, permit));
    payload
}

/// The document: the selected flags that have a translation, by key.
fn document(view: &View, selector: &str) -> String {
    let flags = Selection::of(&view.snapshot, parsed(selector)).iter();
    let translated = |id| view.translations.get(id);
    translate::payload(flags.filter_map(|flag| Some((flag.id().key.as_str(), translated(flag.id())?))))
}

#[cfg(test)]
mod tests;
