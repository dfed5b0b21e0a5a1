//! One subscription, kept alive: connect, catch up, apply, acknowledge, and connect again with what is held.
//!
//! Between connections the last state stays in force; nothing expires. One task owns the copy: what the stream says and
//! the kill sets that are polled beside it come in here, one after the other. What a message means is decided in
//! `sync::replica`; what is done with the copy is the caller's.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::convert;
use super::kill_poll::{self, Health};
use super::options::{Options, OptionsFault, Target};
use super::random::Dice;
use super::stream::{self, Ended, Outbox};
use crate::proto::rampart_v1 as wire;
use crate::sync::message::{KillPart, ServerBody};
use crate::sync::replica::{Event, Replica};

/// Messages that may wait to be sent; acknowledgements are small and few.
const OUTBOX: usize = 16;

/// What happens to a subscription.
#[derive(Debug)]
pub enum Update {
    /// A stream is open.
    Connected,
    /// The copy changed, or the server said something.
    Event {
        /// What.
        event: Event,
        /// From receipt to use.
        took: Duration,
    },
    /// Nothing was heard for as long as the options allow: the copy stays in force and may be old.
    Stale,
    /// Something was heard again.
    Fresh,
    /// The stream is gone; the copy stays in force.
    Disconnected {
        /// Why.
        why: String,
        /// The server does not let this client in.
        denied: bool,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// Why there is no point in going on.
#[derive(Debug, thiserror::Error)]
pub enum FollowFault {
    /// The server does not let this client in, and the options say to give up then.
    #[error("{0}")]
    Denied(String),
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsFault),
}

/// Follows a server until told to stop, and tells every update together with the copy.
///
/// # Errors
/// The options cannot be used, or the server refuses this client and the options say to give up then.
pub async fn follow(
    options: &Options,
    stop: &CancellationToken,
    on_update: impl FnMut(&Update, &Replica),
) -> Result<(), FollowFault> {
    follow_from(Replica::default(), options, stop, on_update).await
}

/// The same from a copy that was kept.
///
/// # Errors
/// As [`follow`].
pub async fn follow_from(
    replica: Replica,
    options: &Options,
    stop: &CancellationToken,
    on_update: impl FnMut(&Update, &Replica),
) -> Result<(), FollowFault> {
    let target = options.check()?;
    let (health, watched) = watch::channel(Health::default());
    let (found, polled) = mpsc::channel(1);
    let follower = Follower {
        options,
        target: &target,
        stop,
        replica,
        on_update,
        backoff: Backoff::new(options.backoff_base, options.backoff_cap, Dice::default()),
        polled,
        health,
        heard: Instant::now(),
        stale: false,
    };
    tokio::select! {
        ended = follower.run() => ended,
        // It ends only after the follower, whose health it watches.
        () = kill_poll::run(options, &target, watched, found) => Ok(()),
    }
}

/// A subscription between two updates.
struct Follower<'o, F> {
    options: &'o Options,
    target: &'o Target,
    stop: &'o CancellationToken,
    replica: Replica,
    on_update: F,
    backoff: Backoff,
    polled: mpsc::Receiver<KillPart>,
    health: watch::Sender<Health>,
    /// When the stream last said anything.
    heard: Instant,
    stale: bool,
}

impl<F: FnMut(&Update, &Replica)> Follower<'_, F> {
    async fn run(mut self) -> Result<(), FollowFault> {
        let mut dice = Dice::default();
        while let Some(Ended { why, pushback, denied }) = self.connection().await {
            self.replica.disconnected();
            self.health.send_modify(|health| health.healthy = false);
            let mut retry_in = self.backoff.next(pushback);
            if denied {
                let Some(wait) = self.options.denied else { return Err(FollowFault::Denied(why)) };
                retry_in = pushback.unwrap_or_else(|| dice.about(wait));
            }
            self.tell(&Update::Disconnected { why, denied, retry_in });
            if self.meanwhile(sleep(retry_in)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// One connection from Hello to its end; none where the caller wanted to stop.
    async fn connection(&mut self) -> Option<Ended> {
        let (out, outbox) = mpsc::channel(OUTBOX);
        if let Some(hello) = convert::client_message(stream::hello(self.options, self.replica.resume())) {
            out.try_send(hello).ok();
        }
        let opening = stream::open(self.options, self.target, outbox);
        let mut inbound = match self.meanwhile(opening).await? {
            Ok(inbound) => inbound,
            Err(ended) => return Some(ended),
        };
        self.tell(&Update::Connected);
        let began = Instant::now();
        let mut deadline = began + self.options.silence;
        let mut goodbye = None;
        let mut ended = loop {
            let read = timeout_at(deadline, inbound.message());
            let Some(next) = self.meanwhile(read).await else {
                stream::leave(out, inbound).await;
                return None;
            };
            match next {
                Err(_) => break Ended::because("the server was silent for too long"),
                Ok(Ok(None)) => break Ended::because("the server ended the stream"),
                Ok(Err(status)) => break Ended::from(status),
                Ok(Ok(Some(message))) => {
                    self.hear();
                    deadline = self.silent_at();
                    match self.take(message, &out).await {
                        Ok(wait) => goodbye = wait.or(goodbye),
                        Err(why) => break Ended::because(why),
                    }
                }
            }
        };
        if began.elapsed() >= self.options.steady {
            self.backoff.reset();
        }
        ended.pushback = ended.pushback.or(goodbye);
        Some(ended)
    }

    /// Waits for something; takes in polled kill sets and notices silence meanwhile. None where the caller wants to
    /// stop.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep_until(self.silent_at()), if !self.stale => {
                    self.stale = true;
                    self.tell(&Update::Stale);
                }
                Some(part) = self.polled.recv() => self.take_polled(part),
                done = &mut what => return Some(done),
            }
        }
    }

    /// When the copy counts as stale unless something is heard.
    fn silent_at(&self) -> Instant {
        self.heard + self.options.silence
    }

    fn hear(&mut self) {
        self.heard = Instant::now();
        if std::mem::take(&mut self.stale) {
            self.tell(&Update::Fresh);
        }
        self.health.send_if_modified(|health| !std::mem::replace(&mut health.healthy, true));
    }

    /// Applies one message and answers it. Gives the wait that a goodbye asks for.
    async fn take(&mut self, message: wire::ServerMessage, out: &Outbox) -> Result<Option<Duration>, String> {
        let began = Instant::now();
        let message = convert::server_message(message).map_err(|fault| fault.to_string())?;
        if let ServerBody::Bookmark(bookmark) = &message.body
            && bookmark.kill_generation > self.replica.kills().generation()
        {
            self.health.send_modify(|health| health.behind += 1);
        }
        let outcome = self.replica.on_message(message);
        let took = began.elapsed();
        let outcome = outcome.took(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        // The receipt goes out before anybody is told: it is what the other end waits for.
        for answer in outcome.send.into_iter().filter_map(convert::client_message) {
            match timeout(self.options.silence, out.send(answer)).await {
                Ok(sent) => sent.map_err(|_| "the stream is gone".to_owned())?,
                Err(_) => return Err("the server does not read what this client says".to_owned()),
            }
        }
        let mut wait = None;
        let mut unusable = false;
        for event in outcome.events {
            if let Event::Goodbye(goodbye) = &event {
                wait = Some(Duration::from_millis(u64::from(goodbye.reconnect_after_ms)));
            }
            unusable |= matches!(event, Event::KillsUnusable);
            self.tell(&Update::Event { event, took });
        }
        if unusable { Err("a kill set was not what it was announced to be".to_owned()) } else { Ok(wait) }
    }

    /// Takes a kill set that was polled; one that cannot be used is not taken, the next poll brings another.
    fn take_polled(&mut self, part: KillPart) {
        let began = Instant::now();
        match self.replica.on_polled_kills(part) {
            Ok(Some(event)) => self.tell(&Update::Event { event, took: began.elapsed() }),
            Ok(None) => {}
            Err(fault) => tracing::warn!(%fault, "a polled kill set was not used"),
        }
    }

    fn tell(&mut self, update: &Update) {
        (self.on_update)(update, &self.replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { kills_unhealthy: Duration::ZERO, ..Options::new("http://192.0.2.1:1", "test".to_owned()) }
    }

    async fn follower<T>(
        options: &Options,
        run: impl AsyncFnOnce(Follower<'_, &mut dyn FnMut(&Update, &Replica)>) -> T,
    ) -> (T, Vec<String>) {
        let mut told = Vec::new();
        let (target, stop) = (options.check().unwrap(), CancellationToken::new());
        let (health, _watched) = watch::channel(Health::default());
        let (_found, polled) = mpsc::channel(1);
        let mut on_update = |update: &Update, _: &Replica| told.push(format!("{update:?}"));
        let done = run(Follower {
            options,
            target: &target,
            stop: &stop,
            replica: Replica::default(),
            on_update: &mut on_update,
            backoff: Backoff::new(options.backoff_base, options.backoff_cap, Dice::new(1)),
            polled,
            health,
            heard: Instant::now(),
            stale: false,
        })
        .await;
        (done, told)
    }

    #[tokio::test]
    async fn silence_is_told_once_whatever_is_waited_for_and_the_next_word_ends_it() {
        let options = Options { silence: Duration::from_millis(1), ..options() };
        let (_, told) = follower(&options, async |mut follower| {
            // What is waited for comes only after silence was noticed.
            let late = sleep(options.silence * 20);
            follower.meanwhile(late).await.unwrap();
            assert!(follower.stale);
            follower.hear();
            assert!(!follower.stale && follower.health.borrow().healthy);
        })
        .await;
        assert_eq!(told, ["Stale", "Fresh"]);
    }

    #[tokio::test]
    async fn nothing_is_stale_before_its_time() {
        let options = options();
        let (_, told) = follower(&options, async |mut follower| {
            let due = follower.heard + options.silence;
            assert_eq!(options.silence, Duration::from_secs(45));
            assert_eq!(follower.silent_at(), due);
            follower.meanwhile(std::future::ready(())).await.unwrap();
            follower.hear();
            assert!(follower.silent_at() >= due);
        })
        .await;
        assert_eq!(told, [""; 0]);
    }

    #[tokio::test]
    async fn kills_arrive_over_http_where_no_stream_can_be_opened() {
        use crate::flag::key::{FlagId, FlagKey};
        use crate::flag::kill::{KillMark, KillSet};
        use crate::flag::time::Generation;
        use crate::sync::kills::KillList;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let flag = FlagId::plain(FlagKey::new("a").unwrap());
        let mut killed = KillSet::default();
        killed.merge(&flag, KillMark { generation: Generation(7), killed: true });
        let hash = u128::from_be_bytes(KillList::of(&killed).set_hash().to_bytes());
        let body = format!(
            r#"{{"epoch":"{:032x}","environment":"production","generation":7,"completeTo":7,"setHash":"{hash:032x}","count":1,"killed":[{{"key":"a","generation":7}}]}}"#,
            1
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // A proxy that knows HTTP/1.1 only: it hangs up on gRPC.
        let proxy = async {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut start = [0; 3];
                if peer.read_exact(&mut start).await.is_ok() && &start == b"GET" {
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    peer.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                    while !matches!(peer.read(&mut [0; 1024]).await, Ok(0) | Err(_)) {}
                }
            }
        };
        let soon = Duration::from_millis(5);
        let options = Options {
            kills_unhealthy: soon,
            backoff_cap: soon,
            ..Options::new(&format!("http://{}", listener.local_addr().unwrap()), "test".to_owned())
        };
        let stop = CancellationToken::new();
        let mut seen = None;
        let following = follow(&options, &stop, |update, replica| {
            if let Update::Event { event: Event::Kills { killed, .. }, .. } = update {
                seen = Some((killed.clone(), replica.kills().generation()));
                stop.cancel();
            }
        });
        let guarded = timeout(Duration::from_secs(30), following);
        tokio::select! {
            followed = guarded => followed.expect("within the guard").expect("it is told to stop"),
            () = proxy => {}
        }
        assert_eq!(seen, Some((vec![flag], Generation(7))));
    }

    #[tokio::test]
    async fn a_bookmark_with_a_newer_kill_generation_asks_for_a_poll_at_once() {
        let options = options();
        follower(&options, async |mut follower| {
            let (out, _outbox) = mpsc::channel(1);
            let bookmark = |kill_generation| wire::ServerMessage {
                nonce: 0,
                message: Some(wire::server_message::Message::Bookmark(wire::Bookmark {
                    kill_generation,
                    digest: vec![0; 16].into(),
                    ..wire::Bookmark::default()
                })),
            };
            follower.take(bookmark(0), &out).await.unwrap();
            assert_eq!(follower.health.borrow().behind, 0);
            follower.take(bookmark(5), &out).await.unwrap();
            assert_eq!(follower.health.borrow().behind, 1);
        })
        .await;
    }
}
