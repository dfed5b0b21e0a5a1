//! From a kill to the last of N subscribers, beside the barest writers that could send the same bytes, in one run.
//!
//! `make bench-fanout`, or `cargo bench --bench fanout -- --help`. It starts the real server and the bare ones as
//! processes on core 0 and is itself the generator on core 1, because what counts is the ratio on the same machine in
//! the same minute. It is a program and not a test: it fails where something broke, never where a figure is missed.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use arguments::{Arguments, Bare, Role, Transport};
use cases::{Case, Plan};
use machine::Machine;
use report::Report;

mod arguments;
mod bare;
mod board;
mod cases;
mod clock;
mod converse;
mod crowd;
mod h2;
mod http1;
mod load;
mod machine;
mod plain;
mod process;
mod report;
mod sse;
mod storm;
mod subscriber;

fn main() -> ExitCode {
    let arguments = Arguments::parse().settled();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    // Before the runtime: its threads inherit the core.
    let machine = arguments
        .role
        .is_none()
        .then(|| Machine::settle(!arguments.no_pin, arguments.rampart.as_deref()))
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    runtime.block_on(async {
        match (&arguments.role, machine) {
            (Some(Role::Bare { kind }), _) => bare::serve(*kind).await,
            (Some(Role::Churn { admin, token, rate, flags }), _) => load::churn(*admin, token, *rate, *flags).await,
            (Some(Role::Flood { data, connections }), _) => load::flood(*data, *connections).await,
            (None, Some(machine)) => measure(arguments, machine).await,
            (None, None) => Ok(()),
        }
    })
}

async fn measure(arguments: &Arguments, machine: Machine) -> Result<()> {
    println!("{}", machine.line());
    let mut cases = Vec::new();
    if !arguments.no_kills {
        for subscribers in &arguments.subscribers {
            let plan = Plan { subscribers: *subscribers, rounds: arguments.rounds, flags: arguments.flags };
            kills(arguments, &machine, plan, &mut cases).await.with_context(|| format!("{subscribers} subscribers"))?;
        }
    }
    let mut storm = None;
    if arguments.storm {
        println!("storm: {} subscribers …", arguments.storm_subscribers);
        storm = Some(storm::storm(&machine, arguments.storm_subscribers, arguments.flags).await.context("storm")?);
    }
    let mut drain = None;
    if arguments.drain {
        println!("drain: {} subscribers …", arguments.storm_subscribers);
        drain = Some(storm::drain(&machine, arguments.storm_subscribers, arguments.flags).await.context("drain")?);
    }
    let report = Report::of(machine, cases, storm, drain);
    report.print();
    report.write(&arguments.json)
}

/// One number of subscribers: the bare writers, then Rampart.
async fn kills(arguments: &Arguments, machine: &Machine, plan: Plan, cases: &mut Vec<Case>) -> Result<()> {
    let shared = plan.is_shared();
    let wanted = |transport| arguments.transport.contains(&transport);
    // One connection each is what bare TCP and HTTP/1.1 have; above that there is only gRPC.
    let bare = [
        (Bare::Tcp, !shared),
        (Bare::Tonic, wanted(Transport::Grpc)),
        (Bare::Receipts, wanted(Transport::Grpc)),
        (Bare::Sse, wanted(Transport::Sse) && !shared),
    ];
    for (kind, _) in bare.into_iter().filter(|(_, wanted)| *wanted && !arguments.no_bare) {
        println!("{} subscribers of bare {kind:?} …", plan.subscribers);
        cases.push(cases::bare(machine, plan, kind).await.with_context(|| format!("bare {kind:?}"))?);
    }
    for transport in &arguments.transport {
        println!("{} subscribers of Rampart by {transport:?} …", plan.subscribers);
        let measured = cases::rampart(machine, plan, *transport, &arguments.load).await;
        match measured.with_context(|| format!("rampart by {transport:?}"))? {
            Some(measured) => cases.extend(measured),
            None => println!("  left out: this server has no such way of subscribing, or not for so many"),
        }
    }
    Ok(())
}
