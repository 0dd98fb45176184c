//! `quaver serve` as a process: it says where it listens, answers, and ends well when it is told to, also under load.
#![cfg(feature = "serverless")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use quaver_core::format::Metadata;
use quaver_core::graph::op::UnaryFn;
use quaver_core::graph::{Dim, Network, Op};
use quaver_core::tensor::DType;

const PATH: &str = "/v2/models/abs/infer";
const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,-2]}]}"#;

/// A server that is ended with the test.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quaver"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it speaks");
        let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { child, address }
    }

    fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("there is kill");
        assert!(told.success());
        self.child.wait().expect("it ends")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer, or what went wrong.
fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = BODY.len();
    write!(stream, "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{BODY}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A file of y[N,2] = |x[N,2]|.
fn model(folder: &tempfile::TempDir) -> String {
    let mut net = Network::new("abs");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into()]);
    let y = net.push(Op::Unary { function: UnaryFn::Abs }, &[x], "abs", "y").expect("valid");
    net.output(y);
    let path = folder.path().join("abs.qvr");
    std::fs::write(&path, quaver_core::format::write(&net, &Metadata::new()).expect("valid")).expect("writable");
    path.display().to_string()
}

#[test]
fn it_answers_and_ends_well_under_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(&[&model(&folder)]);
    let answer = ask(&serving.address).expect("it listens");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""data":[1.5,2.0]"#), "{answer}");
    let (asking, told) = (std::sync::Barrier::new(3), std::sync::Barrier::new(3));
    let address = serving.address.clone();
    let status = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(ask(&address).expect("it listens").starts_with("HTTP/1.1 200"));
                }
                asking.wait();
                told.wait();
                // Until it no longer listens, there is an answer: a result, or that it is ending.
                while let Ok(answer) = ask(&address) {
                    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
                }
            });
        }
        asking.wait();
        told.wait();
        serving.terminate()
    });
    assert!(status.success(), "{status}");
}

#[test]
fn what_cannot_be_served_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("no.qvr");
    std::fs::write(&path, b"no model").expect("writable");
    let refused = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quaver")).arg("serve").args(args).output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&[]).contains("nothing to serve"));
    assert!(refused(&[&path.display().to_string()]).contains("no.qvr"));
    assert!(refused(&["missing.qvr"]).contains("missing.qvr"));
    assert!(refused(&["photo.jpg"]).contains(".wasm"));
    assert!(refused(&["c d.qvr"]).contains("NAME=FILE"));
}
