//! A client of HTTP/1.1 that is as wrong as it is told to be: it writes bytes, and reads an answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The bytes behind the JSON.
    pub fn binary(&self) -> &[u8] {
        let length: usize = self.header("inference-header-content-length").expect("binary").parse().expect("a number");
        &self.body[length..]
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// What was read beyond the last answer.
    rest: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        // Longer than any test waits for: it only keeps a broken one from hanging.
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket");
        Self { stream, rest: Vec::new() }
    }

    /// Writes bytes; an error where the server has closed.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be written.
    pub fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    }

    /// Reads an answer; `None` where the connection ends before its first byte.
    pub fn read(&mut self) -> std::io::Result<Option<Answer>> {
        let head = loop {
            if let Some(at) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8_lossy(&self.rest[..at]).into_owned();
            }
            if !self.more()? {
                return if self.rest.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        self.rest.drain(..head.len() + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).expect("a status");
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let mut answer = Answer { status, headers: lines.filter_map(pair).collect(), body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(0, |value| value.parse().expect("a number"));
        while self.rest.len() < length {
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        answer.body = self.rest.drain(..length).collect();
        Ok(Some(answer))
    }

    fn more(&mut self) -> std::io::Result<bool> {
        let mut bytes = [0; 1 << 16];
        let count = self.stream.read(&mut bytes)?;
        self.rest.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }

    /// A request and its answer.
    pub fn ask(&mut self, request: &[u8]) -> std::io::Result<Option<Answer>> {
        self.write(request)?;
        self.read()
    }
}

/// A request's bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let answer = Client::connect(address).ask(&request(method, path, headers, body));
    answer.expect("the connection holds").expect("there is an answer")
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], b"")
}

pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    ask(address, "POST", path, &[], body)
}
