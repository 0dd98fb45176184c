//! What is served now, and its replacement when files change.
//!
//! A file is looked at by its length, time and number, and read when these differ from when it was last read. What can't be served is
//! told once, and what was served before stays. Requests hold on to what they began with, so a replacement loses none.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use quaver_componentize::is_name;

use crate::admission::Gate;
use crate::guest::{App, Guests, Named, named};
use crate::metrics::{Metrics, Outcome};
use crate::native::{Model, Pool};
use crate::{Options, ServeError, Source};

/// All that is served at one time.
#[derive(Debug)]
pub struct Served {
    /// Models by name.
    pub models: BTreeMap<String, Entry<Model>>,
    /// Components by name.
    pub apps: BTreeMap<String, Entry<App>>,
    /// The models, for guests.
    pub named: Arc<Named>,
}

/// A model or a component, and the way to it, which stays when it is replaced.
#[derive(Debug)]
pub struct Entry<T> {
    /// What is served.
    pub what: Arc<T>,
    /// How many may ask it at once.
    pub gate: Arc<Gate>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { what: Arc::clone(&self.what), gate: Arc::clone(&self.gate) }
    }
}

/// Of each name, its file, and what that was when it was last looked at.
type Seen = BTreeMap<(Kind, String), (PathBuf, Option<Stamp>)>;

/// The files, and what is served of them.
#[derive(Debug)]
pub struct Catalog {
    served: ArcSwap<Served>,
    /// What was last seen of each name's file; locked while files are looked at, so that only one does.
    seen: Mutex<Seen>,
    options: Options,
    guests: Arc<Guests>,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
}

/// What tells versions of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// What a file is, by its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Model,
    Component,
}

impl Catalog {
    /// Loads all files; each has to be good at the start.
    pub fn open(options: &Options, guests: Arc<Guests>, pool: Arc<Pool>, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let empty = Served { models: BTreeMap::new(), apps: BTreeMap::new(), named: Arc::new(named([].into_iter(), &pool)) };
        let served = ArcSwap::from_pointee(empty);
        let catalog = Self { served, seen: Mutex::default(), options: options.clone(), guests, pool, metrics };
        catalog.look(Err)?;
        Ok(catalog)
    }

    /// What is served now.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Looks for changes; whatever fails is told in the log.
    pub fn refresh(&self) {
        let looked = self.look(|error| {
            tracing::error!("{error}; what was served before still is");
            Ok(())
        });
        if let Err(error) = looked {
            tracing::error!("{error}");
        }
    }

    /// Looks for changes and serves them; what can't be is given to `fail`.
    fn look(&self, mut fail: impl FnMut(ServeError) -> Result<(), ServeError>) -> Result<(), ServeError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match files(&self.options) {
            Ok(files) => files,
            Err(error) => return fail(error),
        };
        let before = self.served();
        let (mut models, mut apps, mut changed) = (BTreeMap::new(), BTreeMap::new(), false);
        for ((kind, name), path) in &files {
            let stamp = Stamp::of(path);
            let now = (path.clone(), stamp);
            let loaded = match seen.insert((*kind, name.clone()), now.clone()) {
                Some(known) if known == now => Ok(None),
                _ => self.load(*kind, name, path, &before),
            };
            changed |= matches!(loaded, Ok(Some(_)));
            let loaded = loaded.or_else(|error| {
                self.metrics.loaded(Outcome::Failed);
                fail(error).map(|()| None)
            })?;
            match (loaded, kind) {
                (Some(Loaded::Model(model)), _) => drop(models.insert(name.clone(), model)),
                (Some(Loaded::App(app)), _) => drop(apps.insert(name.clone(), app)),
                (None, Kind::Model) => models.extend(before.models.get(name).map(|entry| (name.clone(), entry.clone()))),
                (None, Kind::Component) => apps.extend(before.apps.get(name).map(|entry| (name.clone(), entry.clone()))),
            }
        }
        seen.retain(|key, _| files.contains_key(key));
        let gone = before.models.keys().filter(|name| !models.contains_key(*name));
        for name in gone.chain(before.apps.keys().filter(|name| !apps.contains_key(*name))) {
            tracing::info!(name, "no longer served, as its file is gone");
            self.metrics.loaded(Outcome::Removed);
            changed = true;
        }
        if changed {
            let named = Arc::new(named(models.values().map(|entry| &entry.what), &self.pool));
            self.served.store(Arc::new(Served { models, apps, named }));
        }
        Ok(())
    }

    fn load(&self, kind: Kind, name: &str, path: &Path, before: &Served) -> Result<Option<Loaded>, ServeError> {
        let limits = &self.options.limits;
        let bytes = std::fs::read(path).map_err(|source| ServeError::Read { path: path.to_owned(), source })?;
        let new = || Arc::new(Gate::new(limits));
        let loaded = match kind {
            Kind::Model => {
                let model =
                    Model::new(name, &bytes).map_err(|source| ServeError::Model { path: path.to_owned(), source: Box::new(source) })?;
                let gate = before.models.get(name).map_or_else(new, |entry| Arc::clone(&entry.gate));
                Loaded::Model(Entry { what: Arc::new(model), gate })
            }
            Kind::Component => {
                let app = App::new(name, path, &bytes, &self.guests, limits)?;
                tracing::info!(name, borrows = app.borrows(), "a component");
                let gate = before.apps.get(name).map_or_else(new, |entry| Arc::clone(&entry.gate));
                Loaded::App(Entry { what: Arc::new(app), gate })
            }
        };
        tracing::info!(name, file = %path.display(), "served");
        self.metrics.loaded(Outcome::Served);
        Ok(Some(loaded))
    }
}

enum Loaded {
    Model(Entry<Model>),
    App(Entry<App>),
}

impl Stamp {
    /// Of a file as it is now; `None` where there is none.
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { len: about.len(), modified: about.modified().ok(), inode: about.ino() })
    }
}

/// The files that are to be served, by what they are and their names.
fn files(options: &Options) -> Result<BTreeMap<(Kind, String), PathBuf>, ServeError> {
    let mut files = BTreeMap::new();
    let mut add = |name: Option<&str>, path: &Path, kind: Kind| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.unwrap_or(&stem);
        if !is_name(name) {
            return Err(ServeError::Name { name: name.to_owned() });
        }
        match files.insert((kind, name.to_owned()), path.to_owned()) {
            Some(other) if other != path => Err(ServeError::Twice { name: name.to_owned() }),
            _ => Ok(()),
        }
    };
    for Source { name, path } in &options.sources {
        let unknown = || ServeError::Component {
            path: path.clone(),
            why: "its name should end in .qvr for a model, or in .wasm for a component".to_owned(),
        };
        add(name.as_deref(), path, Kind::of(path).ok_or_else(unknown)?)?;
    }
    if let Some(folder) = &options.folder {
        let failed = |source| ServeError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(kind) = Kind::of(&path) {
                add(None, &path, kind)?;
            }
        }
    }
    Ok(files)
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "qvr" => Some(Self::Model),
            "wasm" => Some(Self::Component),
            _ => None,
        }
    }
}
