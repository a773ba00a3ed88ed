//! HTTP/2 connections to servers, shared by all clients of one worker.
//!
//! In: an origin, and a way to dial it. Out: a session with room for a request. Requests to an origin
//! share one connection; another is dialled when its streams are exhausted or the server sent GOAWAY. While one is
//! being dialled, requests to the same origin wait for it instead of dialling too.

use std::{cell::RefCell, future::Future, hash::Hash, rc::Rc};

use rustc_hash::FxHashMap;
use tokio::sync::Mutex;

/// What a pool keeps: a connection with what is known about it.
pub trait Pooled: Clone {
    /// Whether another request may be sent on it now.
    fn has_room(&self) -> bool;
    /// Whether it is gone, or going.
    fn is_closed(&self) -> bool;
    /// Requests under way on it.
    fn load(&self) -> usize;
}

struct Origin<S> {
    sessions: RefCell<Vec<S>>,
    /// Held while dialling.
    dialling: Mutex<()>,
}

/// Connections by origin.
pub struct Pool<K, S> {
    origins: RefCell<FxHashMap<K, Rc<Origin<S>>>>,
    max_per_origin: usize,
}

impl<K, S> std::fmt::Debug for Pool<K, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("origins", &self.origins.borrow().len()).finish_non_exhaustive()
    }
}

/// Origins there may be before those without a living connection are forgotten.
const SWEEP_AT: usize = 256;

impl<K: Hash + Eq + Clone, S: Pooled> Pool<K, S> {
    /// An empty pool that dials at most so many connections to an origin.
    #[must_use]
    pub fn new(max_per_origin: usize) -> Self {
        Self { origins: RefCell::default(), max_per_origin: max_per_origin.max(1) }
    }

    /// Adds a connection that was made for another reason.
    pub fn add(&self, key: K, session: S) {
        self.origin(key).sessions.borrow_mut().push(session);
    }

    /// A connection with room, when there is one.
    pub fn get(&self, key: &K) -> Option<S> {
        let origin = self.origins.borrow().get(key).map(Rc::clone)?;
        Self::pick(&origin)
    }

    /// A connection with room, dialled when there is none. The flag tells whether it was dialled for this call.
    ///
    /// # Errors
    /// What dialling says.
    pub async fn get_or_dial<E, F>(&self, key: &K, dial: impl FnOnce() -> F) -> Result<(S, bool), E>
    where
        F: Future<Output = Result<S, E>>,
    {
        let origin = self.origin(key.clone());
        if let Some(session) = Self::pick(&origin) {
            return Ok((session, false));
        }
        let _dialling = origin.dialling.lock().await;
        if let Some(session) = Self::pick(&origin) {
            return Ok((session, false));
        }
        // At the bound the request waits within the least loaded connection.
        let least = {
            let sessions = origin.sessions.borrow();
            let full = sessions.len() >= self.max_per_origin;
            if full { sessions.iter().min_by_key(|session| session.load()).cloned() } else { None }
        };
        if let Some(session) = least {
            return Ok((session, false));
        }
        let session = dial().await?;
        origin.sessions.borrow_mut().push(session.clone());
        Ok((session, true))
    }

    fn origin(&self, key: K) -> Rc<Origin<S>> {
        let mut origins = self.origins.borrow_mut();
        if origins.len() >= SWEEP_AT && !origins.contains_key(&key) {
            origins.retain(|_, origin| {
                origin.sessions.borrow_mut().retain(|session| !session.is_closed());
                !origin.sessions.borrow().is_empty() || Rc::strong_count(origin) > 1
            });
        }
        let new = || Rc::new(Origin { sessions: RefCell::default(), dialling: Mutex::new(()) });
        Rc::clone(origins.entry(key).or_insert_with(new))
    }

    fn pick(origin: &Origin<S>) -> Option<S> {
        let mut sessions = origin.sessions.borrow_mut();
        sessions.retain(|session| !session.is_closed());
        sessions.iter().find(|session| session.has_room()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Clone)]
    struct Fake(Rc<(Cell<usize>, Cell<bool>)>);

    impl Pooled for Fake {
        fn has_room(&self) -> bool {
            self.0.0.get() < 2
        }
        fn is_closed(&self) -> bool {
            self.0.1.get()
        }
        fn load(&self) -> usize {
            self.0.0.get()
        }
    }

    async fn take(pool: &Pool<&'static str, Fake>) -> (Fake, bool) {
        let dial = async || Ok::<_, ()>(Fake(Rc::default()));
        let (session, dialled) = pool.get_or_dial(&"a", dial).await.expect("dials");
        session.0.0.set(session.0.0.get() + 1);
        (session, dialled)
    }

    #[tokio::test]
    async fn shared_until_full_then_dialled_then_bounded() {
        let pool = Pool::new(2);
        let (first, dialled) = take(&pool).await;
        assert!(dialled);
        assert!(!take(&pool).await.1);
        let (second, dialled) = take(&pool).await;
        assert!(dialled && !Rc::ptr_eq(&first.0, &second.0));
        assert!(!take(&pool).await.1);
        // Both are full: the request waits within one of them.
        assert!(!take(&pool).await.1);
        first.0.1.set(true);
        second.0.1.set(true);
        assert!(pool.get(&"a").is_none());
        assert!(take(&pool).await.1);
    }

    #[tokio::test]
    async fn one_dial_serves_those_who_wait() {
        let pool = Pool::new(8);
        let (one, other) = tokio::join!(take(&pool), take(&pool));
        assert!(one.1 && !other.1);
        assert!(Rc::ptr_eq(&one.0.0, &other.0.0));
    }
}
