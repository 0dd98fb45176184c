//! Which request is for what: the paths of the protocol, under `/v1` as under `/v2`.
//!
//! | method | path | what |
//! |---|---|---|
//! | GET | `/v2` | the server |
//! | GET | `/v2/health/live`, `/v2/health/ready` | whether it runs, whether it takes requests |
//! | GET | `/v2/models` | names of the models |
//! | GET | `/v2/models/NAME` | what a model takes and gives |
//! | GET | `/v2/models/NAME/ready` | whether it is there |
//! | POST | `/v2/models/NAME/infer` | inputs to outputs; a photo to classes, too |
//! | POST | `/v2/models/NAME/classify?top=K` | a photo to its `K` most probable classes |

use crate::ProtocolError;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// What the server is.
    Server,
    /// Whether it runs.
    Live,
    /// Whether it takes requests.
    Ready,
    /// Names of the models.
    Models,
    /// What the model of that name takes and gives.
    Model(&'a str),
    /// Whether it is there.
    ModelReady(&'a str),
    /// Runs it.
    Infer(&'a str),
    /// Runs it on a photo.
    Classify(&'a str),
}

/// Finds what a request is for; what follows a `?` in `path` doesn't count.
///
/// # Errors
/// [`ProtocolError::Path`]; [`ProtocolError::Method`].
pub fn route<'a>(method: &str, path: &'a str) -> Result<Route<'a>, ProtocolError> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let unknown = || ProtocolError::Path { path: path.to_owned() };
    let mut parts = path.strip_prefix('/').unwrap_or(path).trim_end_matches('/').split('/');
    if !matches!(parts.next(), Some("v1" | "v2")) {
        return Err(unknown());
    }
    let parts: Vec<&str> = parts.take(4).collect();
    let (route, expected) = match parts[..] {
        [] => (Route::Server, "GET"),
        ["health", "live"] => (Route::Live, "GET"),
        ["health", "ready"] => (Route::Ready, "GET"),
        ["models"] => (Route::Models, "GET"),
        ["models", name] => (Route::Model(name), "GET"),
        ["models", name, "ready"] => (Route::ModelReady(name), "GET"),
        ["models", name, "infer"] => (Route::Infer(name), "POST"),
        ["models", name, "classify"] => (Route::Classify(name), "POST"),
        _ => return Err(unknown()),
    };
    if method == expected || (method == "HEAD" && expected == "GET") {
        return Ok(route);
    }
    Err(ProtocolError::Method { path: path.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found() {
        let cases = [
            ("GET", "/v2", Route::Server),
            ("GET", "/v2/", Route::Server),
            ("GET", "/v1/health/live", Route::Live),
            ("HEAD", "/v2/health/ready", Route::Ready),
            ("GET", "/v2/models", Route::Models),
            ("GET", "/v2/models/net", Route::Model("net")),
            ("GET", "/v2/models/net/ready", Route::ModelReady("net")),
            ("POST", "/v1/models/net/infer", Route::Infer("net")),
            ("POST", "/v1/models/net/classify?top=3", Route::Classify("net")),
        ];
        for (method, path, expected) in cases {
            assert_eq!(route(method, path).expect(path), expected);
        }
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "/v3/models", 404),
            ("GET", "/v2/models/net/infer/more", 404),
            ("GET", "/v2/models/net/infer", 405),
            ("POST", "/v2/models/net", 405),
        ] {
            assert_eq!(route(method, path).expect_err(path).status(), status, "{method} {path}");
        }
    }
}
