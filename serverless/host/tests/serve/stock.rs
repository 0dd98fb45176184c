//! A component on a host that knows nothing of Quaver: `wasmtime serve`, where the environment variable QUAVER_WASMTIME says where the
//! program is; without it the test is skipped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::client::{ask, get};
use crate::models::{binary_request, fashion, images, native};
use crate::running::built;

struct Stock(Child);

impl Drop for Stock {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn wasmtime_serve_gives_natives_bytes() {
    let Some(program) = std::env::var_os("QUAVER_WASMTIME") else {
        println!("skipped: QUAVER_WASMTIME doesn't say where the program wasmtime is");
        return;
    };
    for template in ["quaver_component.wasm", "quaver_component_base.wasm"] {
        let Some(template) = built(template) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let file = fashion(true);
        let path = folder.path().join("app.wasm");
        std::fs::write(&path, quaver_componentize::componentize(&template, &file, "fashion").expect("a component")).expect("writable");
        let mut command = Command::new(&program);
        command.args(["serve", "--addr", "127.0.0.1:0"]).arg(&path).stderr(Stdio::piped());
        let mut stock = Stock(command.spawn().expect("the program starts"));
        let lines = BufReader::new(stock.0.stderr.take().expect("a pipe")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            rest.trim_end_matches('/').parse::<SocketAddr>().ok()
        });
        let address = address.expect("it says where it listens");
        assert_eq!(get(address, "/v2/models/fashion").json()["platform"], "quaver_qvr");
        for (seed, rows) in [(1, 1), (2, 3)] {
            let (shape, data) = ([rows, 1, 28, 28], images(rows, seed));
            let (body, length) = binary_request(&file, &shape, &data);
            let answer = ask(address, "POST", "/v2/models/fashion/infer", &[("inference-header-content-length", &length)], &body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.binary(), native(&file, &shape, &data), "{rows} samples");
        }
    }
}
