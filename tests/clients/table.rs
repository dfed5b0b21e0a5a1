//! The clients, what each can do, and where each differs from what the server said.
//!
//! A client that cannot do a thing says so here, and the tests check that it still cannot: a row that grew old fails.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::script::{Language, Script};

/// One published client in one mode.
#[derive(Debug)]
pub struct Client {
    /// What the script calls it.
    pub kind: &'static str,
    /// Which script holds it.
    pub language: Language,
    /// How it learns of changes.
    pub news: News,
    /// Whether it always says that it is ready again after the connection was lost. What has a copy of the flags may
    /// not; there an answer that changed meanwhile says it.
    pub ready_again: bool,
    /// The reason of an answer that it gave before, where it keeps answers.
    pub again: &'static str,
    /// Whether it answers from a copy of its own while the server is away.
    pub keeps: bool,
    /// Flags of which its caller gets the code default, as it should be, but for the reason `ERROR` with this code.
    pub habits: &'static [(&'static str, &'static str)],
}

/// How a client learns that flags changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Its event names the changed flags.
    Named,
    /// Its event names none.
    Unnamed,
    /// It has no events: the next question is answered anew.
    None,
}

/// A client as most are: events that name the flags, nothing kept, nothing odd.
const USUAL: Client = Client {
    kind: "",
    language: Language::Node,
    news: News::Named,
    ready_again: false,
    again: "STATIC",
    keeps: false,
    habits: &[],
};

/// Python's OFREP provider reads `variant` from every answer, and an answer without a value has none; JavaScript's
/// takes an answer without a value for one of the wrong form.
const OFREP_NEEDS_A_VALUE: &[(&str, &str)] =
    &[("disabled", "GENERAL"), ("no-default", "GENERAL"), ("nothing", "GENERAL")];

/// Version 1 of flagd's protocol cannot say "no value": such a flag is not there, and one that fails is
/// there without one.
const FIRST_VERSION: &[(&str, &str)] = &[
    ("disabled", "FLAG_NOT_FOUND"),
    ("no-default", "FLAG_NOT_FOUND"),
    ("nothing", "FLAG_NOT_FOUND"),
    ("broken", "TYPE_MISMATCH"),
];

/// Every client.
pub const CLIENTS: [Client; 8] = [
    Client { kind: "flagd-rpc", language: Language::Python, ready_again: true, again: "CACHED", ..USUAL },
    Client { kind: "flagd-in-process", language: Language::Python, keeps: true, ..USUAL },
    Client { kind: "ofrep", language: Language::Python, news: News::None, habits: OFREP_NEEDS_A_VALUE, ..USUAL },
    Client { kind: "flagd-rpc", ready_again: true, ..USUAL },
    Client { kind: "flagd-in-process", keeps: true, ..USUAL },
    Client { kind: "ofrep", news: News::None, habits: OFREP_NEEDS_A_VALUE, ..USUAL },
    Client { kind: "flagd-web", news: News::Unnamed, keeps: true, habits: FIRST_VERSION, ..USUAL },
    Client { kind: "ofrep-web", keeps: true, ..USUAL },
];

impl Client {
    /// The client of a test's name.
    pub fn of(language: Language, kind: &str) -> &'static Self {
        CLIENTS.iter().find(|client| client.language == language && client.kind == kind).expect("a row of the table")
    }

    /// Connects it to a server and waits until it is ready.
    pub fn connect(&'static self, server: &Server) -> Connected {
        let file = match self.language {
            Language::Python => "client.py",
            Language::Node => "client.mjs",
        };
        let mut script = Script::start(self.language, file, &[self.kind, &server.data]);
        script.wait_for("that it is ready", |line| line["event"] == "ready");
        Connected { client: self, script }
    }
}

/// A client that is connected.
#[derive(Debug)]
pub struct Connected {
    /// Which one.
    pub client: &'static Client,
    /// The process that holds it.
    pub script: Script,
}

/// What a client's caller sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The value: the flag's or the code default.
    pub value: Value,
    /// The variant, if there is one.
    pub variant: Option<String>,
    /// The reason.
    pub reason: String,
    /// The error code, if there is one.
    pub error: Option<String>,
}

impl Connected {
    /// Asks one flag.
    pub fn ask(&mut self, flag: &str, kind: &str, default: &Value, context: &Value) -> Seen {
        self.command(&json!({"flag": flag, "type": kind, "default": default, "context": context}))
    }

    /// Asks one flag until it has a value: for what a client tells nobody.
    pub fn ask_until(&mut self, flag: &str, kind: &str, default: &Value, until: &Value) -> Seen {
        self.command(&json!({"flag": flag, "type": kind, "default": default, "context": {}, "until": until}))
    }

    fn command(&mut self, command: &Value) -> Seen {
        let answer = self.script.ask(command, "answer");
        let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Seen {
            value: answer["value"].clone(),
            variant: text("variant"),
            reason: text("reason").unwrap_or_default(),
            error: text("errorCode"),
        }
    }

    /// Waits until the client heard that a flag changed, in the way it can.
    pub fn hear(&mut self, flag: &str) {
        let named = match self.client.news {
            News::None => return,
            News::Named => true,
            News::Unnamed => false,
        };
        self.script.wait_for(&format!("that {flag} changed"), |line| {
            let names = line["flags"].as_array().is_some_and(|flags| flags.iter().any(|name| name == flag));
            line["event"] == "changed" && (names || !named)
        });
    }
}
