//! Groups that could not be removed when they were dropped, because the kernel still held a
//! killed process in them. They are tried again whenever a group is made.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::find::Parent;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static REMAINS: Mutex<Vec<(Parent, String)>> = Mutex::new(Vec::new());

/// Remembers a group. Should this process end first, `gc` finds it by its name.
pub(super) fn keep(parent: Parent, name: String) {
    let mut remains = REMAINS.lock().unwrap_or_else(PoisonError::into_inner);
    remains.push((parent, name));
    COUNT.store(remains.len(), Ordering::Release);
}

/// Removes what can be removed by now; costs one load while there is nothing.
pub(super) fn sweep() {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    let mut remains = REMAINS.lock().unwrap_or_else(PoisonError::into_inner);
    remains.retain(|(parent, name)| !parent.remove(name).unwrap_or(false));
    COUNT.store(remains.len(), Ordering::Release);
}
