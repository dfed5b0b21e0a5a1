//! flagd's sources of flags: `--uri` and `--sources`. Files are watched; every other kind is refused with what to do
//! instead, since a source that silently does nothing is an outage.

use std::borrow::Cow;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::app::settings::table::nearest;
use crate::app::settings::value::Wrong;
use crate::source::several::NamedFile;

const FILE_PROVIDERS: [&str; 3] = ["file", "fsnotify", "fileinfo"];
const FILE_URI: &str = "file:";

/// The other kinds: how their URIs begin, what provider they have, and what to use instead.
const OTHERS: [(&[&str], &str, &str); 6] = [
    (&["http://", "https://"], "http", FETCH),
    (&["grpc://", "grpcs://", "envoy:", "envoy://", "dns:", "uds:", "xds:"], "grpc", COPY),
    (&["core.openfeature.dev/"], "kubernetes", MOUNT),
    (&["gs://"], "gcs", BUCKET),
    (&["azblob://"], "azblob", BUCKET),
    (&["s3://"], "s3", BUCKET),
];
const FETCH: &str = "have a job fetch the document into a file and name it with --uri file:PATH, or push it with \
                     `POST /v1/environments/production/import` of the admin API";
const COPY: &str = "point the clients at this server and name its flags with --uri file:PATH";
const MOUNT: &str = "mount the flags as a ConfigMap volume and name the file with --uri file:PATH";
const BUCKET: &str = "have a sidecar copy the object into a file and name it with --uri file:PATH";

/// What a source of flagd may say, and whether it means something for a file.
const FIELDS: [(&str, bool); 15] = [
    ("uri", true),
    ("provider", true),
    ("authHeader", false),
    ("bearerToken", false),
    ("interval", false),
    ("intervalSeed", false),
    ("tls", false),
    ("providerID", false),
    ("selector", false),
    ("certPath", false),
    ("maxMsgSize", false),
    ("incrementalUpdates", false),
    ("headers", false),
    ("timeoutS", false),
    ("oauth", false),
];

/// What `--sources` is called in messages.
const WHOLE: &str = "the list of sources";

/// What sources were found, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, in rising order of precedence.
    pub files: Vec<NamedFile>,
    /// What is wrong: the source as it was written, with the reason.
    pub wrong: Vec<(String, Wrong)>,
    /// What is said and means nothing.
    pub notes: Vec<String>,
}

impl Found {
    /// Reads one `--uri`.
    pub fn uri(&mut self, uri: &str) {
        match uri.strip_prefix(FILE_URI) {
            Some(path) => self.file(uri, path),
            None => {
                let other = OTHERS.iter().find(|(begins, ..)| begins.iter().any(|begin| uri.starts_with(begin)));
                match other {
                    Some((_, provider, instead)) => self.refuse(uri, unsupported(provider), *instead),
                    None => self.refuse(uri, "is no source of flags", format!("did you mean {FILE_URI}{uri}?")),
                }
            }
        }
    }

    /// Reads `--sources`, a JSON array.
    pub fn sources(&mut self, text: &str) {
        let fix = "write [{\"uri\":\"flags.json\",\"provider\":\"file\"}]";
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(sources)) => {
                sources.iter().enumerate().for_each(|(index, source)| self.source(index, source));
            }
            Ok(_) => self.refuse(WHOLE, "is not a JSON array", fix),
            Err(error) => self.refuse(WHOLE, format!("is not JSON ({error})"), fix),
        }
    }

    fn source(&mut self, index: usize, source: &Value) {
        // Not the whole source: it may hold secrets for the server that it names.
        let nameless = format!("source {}", index + 1);
        let Value::Object(fields) = source else {
            let shown = nameless;
            return self.refuse(&shown, "is not a source", "write an object with `uri` and `provider`");
        };
        let shown = text(fields, "uri").map_or(nameless, |uri| without_user(uri).into_owned());
        for field in fields.keys() {
            let Some((_, means)) = FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(field)) else {
                let near = nearest(field, FIELDS.iter().map(|(known, _)| *known));
                let fix = near.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean `{near}`?"));
                self.refuse(&shown, format!("has an unknown field `{field}`"), fix);
                continue;
            };
            if !means {
                self.notes.push(format!("`{field}` of a source has no effect on a file"));
            }
        }
        let (Some(uri), Some(provider)) = (text(fields, "uri"), text(fields, "provider")) else {
            return self.refuse(&shown, "lacks its `uri` or `provider`", "both are required, and are texts");
        };
        if FILE_PROVIDERS.contains(&provider) {
            return self.file(&shown, uri.strip_prefix(FILE_URI).unwrap_or(uri));
        }
        match OTHERS.iter().find(|(_, known, _)| *known == provider) {
            Some((_, known, instead)) => self.refuse(&shown, unsupported(known), *instead),
            None => {
                let known = FILE_PROVIDERS.iter().chain(OTHERS.iter().map(|(_, known, _)| known)).copied();
                let near = nearest(provider, known).unwrap_or("file");
                self.refuse(
                    &shown,
                    format!("has the unknown provider `{provider}`"),
                    format!("did you mean `{near}`?"),
                );
            }
        }
    }

    fn file(&mut self, shown: &str, path: &str) {
        if path.is_empty() || path.contains('\0') {
            return self.refuse(shown, "names no file", "write file:PATH");
        }
        // The name is what flagd reflects and what selectors say.
        self.files.push(NamedFile { name: path.to_owned(), path: PathBuf::from(path) });
    }

    fn refuse(&mut self, shown: &str, problem: impl Into<String>, fix: impl Into<String>) {
        self.wrong.push((without_user(shown).into_owned(), Wrong { problem: problem.into(), fix: fix.into() }));
    }
}

/// A URI without the name and password that may stand before its host.
fn without_user(uri: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = uri.split_once("://") else { return Cow::Borrowed(uri) };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://{}", &rest[at + 1..])),
        None => Cow::Borrowed(uri),
    }
}

fn unsupported(provider: &str) -> String {
    format!("is a source of the kind `{provider}`, which Rampart does not have")
}

fn text<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f str> {
    let (_, value) = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(uris: &[&str]) -> Found {
        let mut found = Found::default();
        uris.iter().for_each(|uri| found.uri(uri));
        found
    }

    fn names(found: &Found) -> Vec<&str> {
        found.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn a_file_is_named_as_it_was_written() {
        let found = uris(&["file:flags/a.json", "file:/etc/b.yaml", "file:///etc/c.json"]);
        assert_eq!(names(&found), ["flags/a.json", "/etc/b.yaml", "///etc/c.json"]);
        assert!(found.wrong.is_empty());
    }

    #[test]
    fn every_other_kind_says_what_to_use_instead() {
        for uri in [
            "http://host/flags",
            "https://host/flags",
            "grpc://host:8015",
            "grpcs://host:8015",
            "envoy://host/service",
            "dns:///host",
            "uds:/tmp/s",
            "xds:///host",
            "core.openfeature.dev/ns/flags",
            "gs://bucket/flags.json",
            "azblob://container/flags.json",
            "s3://bucket/flags.json",
        ] {
            let found = uris(&[uri]);
            assert!(found.files.is_empty(), "{uri}");
            let (shown, wrong) = &found.wrong[0];
            assert_eq!(shown, uri);
            assert!(wrong.problem.contains("which Rampart does not have"), "{wrong:?}");
            assert!(wrong.fix.contains("--uri file:PATH"), "{wrong:?}");
        }
        assert_eq!(uris(&["https://user:secret@host/f"]).wrong[0].0, "https://host/f", "no password is repeated");
        let (_, wrong) = &uris(&["flags.json"]).wrong[0];
        assert_eq!(wrong.fix, "did you mean file:flags.json?");
        assert_eq!(uris(&["file:"]).wrong[0].1.problem, "names no file");
    }

    #[test]
    fn sources_are_files_or_are_named_one_by_one() {
        let mut found = Found::default();
        found.sources(
            r#"[{"uri":"a.json","provider":"file"},{"uri":"file:b.json","provider":"fsnotify"},
                {"uri":"c.json","provider":"fileinfo","interval":5},
                {"uri":"http://h","provider":"http","authHeader":"Bearer secret"},{"uri":"x","provider":"fil"},{"uri":"y"},
                {"uri":"d.json","provider":"file","seletor":"x"}, 7]"#,
        );
        assert_eq!(names(&found), ["a.json", "b.json", "c.json", "d.json"]);
        assert_eq!(found.notes[0], "`interval` of a source has no effect on a file");
        assert!(!format!("{:?}", found.wrong).contains("secret"), "{:?}", found.wrong);
        let fixes: Vec<&str> = found.wrong.iter().map(|(_, wrong)| wrong.fix.as_str()).collect();
        assert_eq!(fixes.len(), 5, "{fixes:?}");
        assert!(fixes[0].contains("job fetch"), "{fixes:?}");
        assert_eq!(fixes[1], "did you mean `file`?");
        assert_eq!(fixes[3], "did you mean `selector`?");
        for text in ["", "{}", "[", "\"a\""] {
            let mut found = Found::default();
            found.sources(text);
            assert_eq!((found.files.len(), found.wrong.len()), (0, 1), "{text}");
        }
    }
}
