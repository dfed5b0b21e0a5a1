//! `rampart token`: create, list and revoke tokens of a running server. A secret is printed once and never again.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::failure::Failure;
use super::http::{Ask, encode};
use super::session::{admin, block_on};
use super::{Output, ServerArgs, print_json, table};

/// Tokens of a running server.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a token and print its secret, once.
    Create {
        /// What it may do: evaluate, read, report, operate, write, kill, admin. May be given several times.
        #[arg(long, required = true, value_name = "SCOPE", value_delimiter = ',')]
        scope: Vec<String>,
        /// Where it may do it; every environment where left out. May be given several times.
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        environment: Vec<String>,
        /// A name for people: who or what carries it.
        #[arg(long, value_name = "TEXT", default_value = "")]
        name: String,
        /// When it ends by itself (RFC 3339).
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the tokens, without their secrets.
    List(ServerArgs),
    /// End a token, at once.
    Revoke {
        /// Its identifier, as `list` shows it.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl Token {
    /// Carries out the command.
    ///
    /// # Errors
    /// Those of the server.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.verb {
            Verb::Create { scope, environment, name, expires, server } => {
                let mut body = json!({"scopes": scope, "name": name});
                if !environment.is_empty() {
                    body["environments"] = json!(environment);
                }
                if let Some(expires) = expires {
                    body["expires"] = json!(expires);
                }
                create(out, &server, body)
            }
            Verb::List(server) => list(out, &server),
            Verb::Revoke { id, server } => revoke(out, &server, &id),
        }
    }
}

fn create(out: &mut dyn Write, server: &ServerArgs, body: Value) -> Result<(), Failure> {
    let admin = admin(server)?;
    let answer = block_on(admin.ask(Ask::send(Method::POST, "/v1/tokens", body)))?.body;
    let (id, token) = (&answer["id"], &answer["token"]);
    if server.output == Output::Json {
        return print_json(out, &json!({"id": id, "token": token}));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(out, "{}", text(token))?;
    writeln!(
        out,
        "identifier {}; the line above is shown this once: keep it in RAMPART_TOKEN or a secret store",
        text(id)
    )?;
    Ok(())
}

fn list(out: &mut dyn Write, server: &ServerArgs) -> Result<(), Failure> {
    let admin = admin(server)?;
    let answer = block_on(admin.ask(Ask::get("/v1/tokens")))?.body;
    if server.output == Output::Json {
        return print_json(out, &answer["tokens"]);
    }
    let words = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let row = |token: &Value| {
        let state = if token["revoked"].as_bool() == Some(true) { "revoked" } else { "live" };
        [
            words(&token["id"]),
            words(&token["name"]),
            words(&token["scopes"]),
            words(&token["environments"]),
            words(&token["expires"]),
            state.to_owned(),
        ]
    };
    let rows: Vec<[String; 6]> = answer["tokens"].as_array().into_iter().flatten().map(row).collect();
    Ok(table::print(out, ["ID", "NAME", "SCOPES", "ENVIRONMENTS", "EXPIRES", "STATE"], &rows)?)
}

fn revoke(out: &mut dyn Write, server: &ServerArgs, id: &str) -> Result<(), Failure> {
    let admin = admin(server)?;
    let path = format!("/v1/tokens/{}", encode(id));
    let ask = Ask { method: Method::DELETE, path: &path, body: None, condition: None };
    let answer = block_on(admin.ask(ask))?.body;
    if server.output == Output::Json {
        return print_json(out, &answer);
    }
    Ok(writeln!(out, "token {id}: revoked")?)
}
