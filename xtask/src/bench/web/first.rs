//! From an empty browser to a first result: a page that loads one library and one model, in a fresh profile each time.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lane::Who;
use super::{Args, Setup, model};
use crate::bench::networks::{Network, Prepared};
use crate::bench::summary::median;
use crate::process::output;

/// What the ratio should be at most.
pub const BAR: f64 = 1.0 / 3.0;
/// Whose pages there are.
const PAGES: [Who; 3] = [Who::Float, Who::Int8, Who::Quaver];

/// Milliseconds from the begin of a navigation to the first result.
#[derive(Debug, Clone, Serialize)]
pub struct First {
    /// The network's name.
    pub network: String,
    /// Each page's times, in turns.
    pub pages: Vec<(Who, Vec<f64>)>,
}

#[derive(Deserialize)]
struct Said {
    pages: Vec<Vec<f64>>,
}

/// Measures them.
pub fn measure(args: &Args, setup: &Setup, network: &Network, prepared: &Prepared) -> Result<Option<First>> {
    eprintln!("bench: {}, from an empty browser to a first result", network.name);
    let there: Vec<(Who, std::path::PathBuf)> = PAGES.into_iter().filter_map(|who| Some((who, model(prepared, who).ok()?))).collect();
    let pages: Vec<_> = there.iter().map(|(who, model)| json!({ "library": who.engine(), "model": model })).collect();
    let request = json!({ "site": setup.pages, "chromium": setup.chromium, "rounds": args.rounds, "pages": pages });
    let said = output(setup.site.tool("first.js").arg(request.to_string()))?;
    let said: Said = serde_json::from_str(&said).with_context(|| format!("first.js says '{said}'"))?;
    let pages = there.iter().map(|&(who, _)| who).zip(said.pages).collect();
    Ok(Some(First { network: network.name.clone(), pages }))
}

impl First {
    /// A page's median.
    pub fn time(&self, who: Who) -> Option<f64> {
        let (_, times) = self.pages.iter().find(|(page, _)| *page == who)?;
        median(times.clone())
    }

    /// Our time through that of the faster page of onnxruntime-web.
    pub fn ratio(&self) -> Option<f64> {
        let theirs = [Who::Float, Who::Int8].into_iter().filter_map(|who| self.time(who)).reduce(f64::min)?;
        Some(self.time(Who::Quaver)? / theirs)
    }
}
