//! What the endpoints ask of the archive, and of whom.
//!
//! The archive of a node in service; in tests whatever answers, as [`crate::Ask`] is for the chats.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use archive::{
    Archive, Body, CollectionName, Delete, Found, List, Listing, Name, Put, Reading, Refusal,
    Stored, UnifiedId, Versioning,
};
use bytes::Bytes;
use runtime::Instant;

/// An answer, while it is made. Dropping it stops waiting for it.
pub type Telling<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Who keeps objects. What is asked is well-formed; everything is answered by `until`, but for what takes as
/// long as bytes need.
pub trait Objects: Send + Sync + 'static {
    /// Makes a collection; whether it is new.
    fn create(
        &self,
        name: CollectionName,
        versioning: Versioning,
        until: Instant,
    ) -> Telling<'_, bool>;
    /// What a collection shows.
    fn list(&self, list: List, until: Instant) -> Telling<'_, Listing>;
    /// What a key shows, or another version of it.
    fn find(&self, name: Name, version: Option<UnifiedId>, until: Instant) -> Telling<'_, Found>;
    /// Begins to read a range of what was found.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was read.
    fn read(
        &self,
        name: &Name,
        found: Found,
        range: Range<u64>,
    ) -> Result<Box<dyn Pieces>, Refusal>;
    /// Stores what comes from `body`. Dropping it gives the upload up.
    fn put<'a>(&'a self, put: Put, body: &'a mut dyn Body) -> Telling<'a, Stored>;
    /// Hides a key, or one version of it; the delete's own version.
    fn delete(&self, delete: Delete, until: Instant) -> Telling<'_, UnifiedId>;
    /// Begins an archive of parts; its version.
    fn start(&self, name: Name, repeat: Option<String>, until: Instant) -> Telling<'_, UnifiedId>;
    /// Makes it whole.
    fn finish(&self, name: Name, version: UnifiedId, until: Instant) -> Telling<'_, ()>;
    /// Gives it up, or hides it.
    fn abort(&self, name: Name, version: UnifiedId, until: Instant) -> Telling<'_, ()>;
}

/// Bytes of an object, in pieces that were verified.
pub trait Pieces: Send + 'static {
    /// The next ones; `None` behind the last.
    fn next(&mut self) -> Telling<'_, Option<Bytes>>;
}

impl Pieces for Reading {
    fn next(&mut self) -> Telling<'_, Option<Bytes>> {
        Box::pin(Self::next(self))
    }
}

impl Objects for Archive {
    fn create(
        &self,
        name: CollectionName,
        versioning: Versioning,
        until: Instant,
    ) -> Telling<'_, bool> {
        Box::pin(async move { self.create_collection(&name, versioning, until).await })
    }

    fn list(&self, list: List, until: Instant) -> Telling<'_, Listing> {
        Box::pin(Self::list(self, list, until))
    }

    fn find(&self, name: Name, version: Option<UnifiedId>, until: Instant) -> Telling<'_, Found> {
        Box::pin(async move { Self::find(self, &name, version, until).await })
    }

    fn read(
        &self,
        name: &Name,
        found: Found,
        range: Range<u64>,
    ) -> Result<Box<dyn Pieces>, Refusal> {
        Ok(Box::new(Self::read(self, name, found, Some(range))?))
    }

    fn put<'a>(&'a self, put: Put, body: &'a mut dyn Body) -> Telling<'a, Stored> {
        Box::pin(Self::put(self, put, body))
    }

    fn delete(&self, delete: Delete, until: Instant) -> Telling<'_, UnifiedId> {
        Box::pin(Self::delete(self, delete, until))
    }

    fn start(&self, name: Name, repeat: Option<String>, until: Instant) -> Telling<'_, UnifiedId> {
        Box::pin(async move { Self::start(self, &name, repeat, until).await })
    }

    fn finish(&self, name: Name, version: UnifiedId, until: Instant) -> Telling<'_, ()> {
        Box::pin(async move { Self::finish(self, &name, version, until).await })
    }

    fn abort(&self, name: Name, version: UnifiedId, until: Instant) -> Telling<'_, ()> {
        Box::pin(async move { Self::abort(self, &name, version, until).await })
    }
}
