//! `quaver serve`: models and components over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use quaver_serverless::{Limits, Options, Server, Source};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serve .qvr files and WebAssembly components over HTTP
///
/// Models answer the Open Inference Protocol under /v2/models/NAME, in batches where requests come together; components (`quaver
/// componentize`, or any of wasi:http 0.2) answer under /apps/NAME/, each request by an instance of its own. /metrics is for
/// Prometheus. Files that change are replaced without a lost request; SIGTERM ends what was begun, and refuses the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver serve net.qvr
  quaver serve --folder models/ --listen 0.0.0.0:8080 --cache /var/cache/quaver
  quaver serve faces=/srv/a/net.wasm plates=/srv/b/net.wasm --guest-memory 128 --guest-time 2
  curl --data-binary @dog.jpg -H 'content-type: image/jpeg' 'localhost:8080/v2/models/net/classify?top=3'

The environment variable QUAVER_LOG chooses what is logged: error, warn, info (the default), debug.")]
pub struct Args {
    /// Files, .qvr or .wasm, each under its own name or another
    #[arg(value_name = "[NAME=]FILE", value_parser = source)]
    files: Vec<Source>,
    /// Also serve all files of a folder, as they come and go
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Threads that compute [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Most samples of a batch. Without --batch-delay requests share a run where that has made samples faster
    #[arg(long, value_name = "N", default_value_t = 8)]
    max_batch: usize,
    /// How long a request may wait for others of its batch while threads are free, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    batch_delay: f64,
    /// Keep compiled components in this folder, which must be closed to others
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Lend components no kernels: they use their own
    #[arg(long)]
    no_lend: bool,
    /// Requests at once, for each model and component
    #[arg(long, value_name = "N", default_value_t = 16)]
    concurrent: usize,
    /// Requests that may wait for their turn, for each model and component; more are refused with 503
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Instances of components at once, of all together
    #[arg(long, value_name = "N", default_value_t = 64)]
    instances: u32,
    /// How long a component may take for an answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    guest_time: f64,
    /// Memory of a component's instance, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    guest_memory: usize,
    /// Largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    body: usize,
    /// How long a body may take to arrive, in seconds
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    body_time: f64,
    /// How often files are looked at for changes, in seconds; 0 for never
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    reload: f64,
    /// How long requests may take to end after SIGTERM, in seconds
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    drain: f64,
    /// How lines of the log are written
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Log {
    /// For people
    Text,
    /// For programs: an object a line
    Json,
}

fn source(text: &str) -> Result<Source, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.contains('/') => Ok(Source { name: Some(name.to_owned()), path: path.into() }),
        _ => Ok(Source { name: None, path: text.into() }),
    }
}

impl Args {
    fn options(&self) -> Result<Options> {
        ensure!(!self.files.is_empty() || self.folder.is_some(), "there is nothing to serve: give files, or --folder");
        ensure!((1..=64).contains(&self.max_batch), "--max-batch {} should lie between 1 and 64", self.max_batch);
        ensure!(self.concurrent > 0 && self.instances > 0, "--concurrent and --instances should be at least 1");
        let time = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).with_context(|| format!("--{name} {seconds} should be a time of 0 or more"))
        };
        let mib = |name: &str, mib: usize| mib.checked_mul(1 << 20).with_context(|| format!("--{name} {mib} is too much"));
        ensure!((1..=4096).contains(&self.guest_memory), "--guest-memory {} should lie between 1 and 4096 MiB", self.guest_memory);
        let defaults = Options::default();
        let limits = Limits {
            body: mib("body", self.body)?,
            body_time: time("body-time", self.body_time)?,
            concurrent: self.concurrent,
            queue: self.queue,
            guest_time: time("guest-time", self.guest_time)?,
            guest_memory: mib("guest-memory", self.guest_memory)?,
            instances: self.instances,
            ..Limits::default()
        };
        Ok(Options {
            listen: self.listen,
            sources: self.files.clone(),
            folder: self.folder.clone(),
            reload: time("reload", self.reload)?,
            threads: self.threads.unwrap_or(defaults.threads),
            max_batch: self.max_batch,
            batch_delay: time("batch-delay", self.batch_delay / 1e3)?,
            cache: self.cache.clone(),
            lend: !self.no_lend,
            limits,
            drain: time("drain", self.drain)?,
            ..defaults
        })
    }

    fn start_log(&self) -> Result<()> {
        let filter = EnvFilter::try_from_env("QUAVER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = match self.log {
            Log::Text => log.with_ansi(false).try_init(),
            Log::Json => log.json().try_init(),
        };
        started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))
    }
}

/// Runs the command, until it is told to end.
pub fn run(args: &Args) -> Result<()> {
    let options = args.options()?;
    args.start_log()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = Server::bind(options).await?;
        println!("listening on http://{}", server.address()?);
        let told = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.run(told).await;
        Ok(())
    })
}
