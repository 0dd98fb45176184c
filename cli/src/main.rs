//! The `quaver` command: arguments, exit codes, and the one place where an error is printed.

#![forbid(unsafe_code)]

mod chart;
mod commands;
mod data;
mod ui;

use clap::{Parser, Subcommand};

/// INT8 inference on servers and in the browser, from one model file.
///
/// A float ONNX network becomes a calibrated, quantized .qvr file; every backend returns the same bytes for it.
#[derive(Debug, Parser)]
#[command(name = "quaver", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
First steps:
  quaver demo                                             see it work, offline
  quaver inspect net.onnx                                 what is in a network
  quaver convert net.onnx -o net.qvr --calibrate-images photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  quaver compare net.onnx net.qvr --images more-photos/   does it still agree with float?
  quaver classify net.qvr dog.jpg --labels imagenet.txt
  quaver bench net.qvr --profile                          how fast is it, and where does the time go?
  quaver explain net.qvr                                  which kernel runs what, and why
  quaver tune net.qvr                                     measure instead: a side file for this machine
  quaver serve net.qvr                                    answer requests over HTTP";

#[derive(Debug, Subcommand)]
enum Command {
    /// Quantize an ONNX network into a .qvr file
    Convert(commands::convert::Args),
    /// Show what is in a .qvr or .onnx file: inputs, outputs, nodes, sizes, what is quantized and what is not and why
    Inspect(commands::inspect::Args),
    /// Run a .qvr file on .npy arrays
    Run(commands::run::Args),
    /// Measure how well a .qvr file agrees with its float network
    Compare(commands::compare::Args),
    /// Say what is in photos
    Classify(commands::classify::Args),
    /// Measure the time of an inference, and of each node
    Bench(commands::bench::Args),
    /// Show which kernel runs each node, why, and how long it should take
    Explain(commands::explain::Args),
    /// Measure which kernel is fastest for each node on this machine
    Tune(commands::tune::Args),
    /// Put a .qvr file into a WebAssembly component that serves it
    #[cfg(feature = "serverless")]
    Componentize(commands::componentize::Args),
    /// Serve .qvr files and WebAssembly components over HTTP
    #[cfg(feature = "serverless")]
    Serve(Box<commands::serve::Args>),
    /// Convert and run the small network that comes with Quaver, and compare it with float
    Demo(commands::demo::Args),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    // `quaver inspect … | head` ends quietly; a server doesn't end because a client does.
    #[cfg(feature = "serverless")]
    let serves = matches!(cli.command, Command::Serve(_));
    #[cfg(not(feature = "serverless"))]
    let serves = false;
    if !serves {
        sigpipe::reset();
    }
    let result = match &cli.command {
        Command::Convert(args) => commands::convert::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Compare(args) => commands::compare::run(args),
        Command::Classify(args) => commands::classify::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Tune(args) => commands::tune::run(args),
        #[cfg(feature = "serverless")]
        Command::Componentize(args) => commands::componentize::run(args),
        #[cfg(feature = "serverless")]
        Command::Serve(args) => commands::serve::run(args),
        Command::Demo(args) => commands::demo::run(args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            ui::report(&error);
            std::process::ExitCode::FAILURE
        }
    }
}
