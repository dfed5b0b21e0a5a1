//! Log lines on standard error, for people or for machines. Metrics are not made here.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, fmt};

use super::settings::LogFormat;

/// Why there will be no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryFault {
    /// The filter's directives cannot be parsed.
    #[error("the log filter {filter:?} cannot be read: write a level or directives such as info,rampart=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already: `init` ran before.
    #[error("the process writes a log already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Starts the log of the process: once, before anything else.
///
/// # Errors
/// The filter cannot be parsed, or there is a log already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryFault> {
    let subscriber = subscriber(format, filter, io::stderr, io::stderr().is_terminal())?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
    colours: bool,
) -> Result<impl Subscriber + Send + Sync, TelemetryFault>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryFault::Filter { filter: filter.to_owned(), source })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(colours).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(revision = 7, "flag put");
            tracing::debug!("too much");
        });
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_is_for_people() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.contains("INFO") && text.contains("flag put revision=7"), "{text}");
        assert!(!text.contains("too much"), "{text}");
    }

    #[test]
    fn json_is_one_object_per_line_with_fields_as_values() {
        let text = logged(LogFormat::Json, "debug");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["message"], &lines[0]["revision"]), (&"flag put".into(), &7.into()));
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        let fault = subscriber(LogFormat::Text, "info,rampart=loud", io::stderr, false).err().unwrap();
        assert!(fault.to_string().contains("info,rampart=loud"));
    }
}
