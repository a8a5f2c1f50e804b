//! The line in which requests wait for a place: bounded, and fair to every caller.
//!
//! Callers take turns, so that one who sends a thousand requests delays the next caller by no more
//! than one run. Whoever stops waiting leaves the line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// A number of places, and the line of those who wait for one. Copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    places: usize,
    taken: usize,
    /// How many may wait, and how many do.
    room: usize,
    waiting: usize,
    /// Who has how many places.
    holders: BTreeMap<Arc<str>, usize>,
    /// Whose turn it is comes first; nobody is here who does not wait.
    turns: VecDeque<Turn>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Turn {
    name: Arc<str>,
    /// How many places the caller may have at the same time.
    most: usize,
    tickets: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// Who wants a place, and how many of them it may have.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) name: Arc<str>,
    pub(crate) most_places: usize,
    pub(crate) most_waiting: usize,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    line: Option<Line>,
    name: Arc<str>,
}

/// A place in line. Whoever drops it leaves.
#[derive(Debug)]
pub(crate) struct Ticket {
    line: Line,
    number: u64,
    name: Arc<str>,
    called: oneshot::Receiver<Place>,
}

/// Nobody more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The turn did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

impl Line {
    pub(crate) fn new(places: usize, room: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            places,
            taken: 0,
            room,
            waiting: 0,
            holders: BTreeMap::new(),
            turns: VecDeque::new(),
            next_ticket: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many places there are and how many may wait. Nobody loses a place.
    pub(crate) fn resize(&self, places: usize, room: usize) {
        let mut state = self.state();
        (state.places, state.room) = (places, room);
        self.call(&mut state);
    }

    /// How many wait, and how many have a place.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting, state.taken)
    }

    /// Joins the line; whoever can have a place at once is called at once.
    pub(crate) fn join(&self, claim: &Claim) -> Result<Ticket, Full> {
        let mut state = self.state();
        let waits = |turn: &&Turn| turn.name == claim.name;
        let own = state.turns.iter().find(waits).map_or(0, |turn| turn.tickets.len());
        if !state.has_place(&claim.name, claim.most_places)
            && (state.waiting >= state.room || own >= claim.most_waiting)
        {
            return Err(Full);
        }
        let number = state.next_ticket;
        state.next_ticket += 1;
        let (caller, called) = oneshot::channel();
        state.queue(claim, (number, caller));
        self.call(&mut state);
        Ok(Ticket { line: self.clone(), number, name: Arc::clone(&claim.name), called })
    }

    /// Calls whoever can have a place.
    fn call(&self, state: &mut State) {
        while let Some((name, caller)) = state.next() {
            let place = Place { line: Some(self.clone()), name: Arc::clone(&name) };
            match caller.send(place) {
                Ok(()) => {
                    state.taken += 1;
                    *state.holders.entry(name).or_default() += 1;
                }
                // Gone meanwhile. The line is locked: the place must not give itself back.
                Err(mut place) => place.line = None,
            }
        }
    }
}

impl State {
    fn has_place(&self, name: &Arc<str>, most: usize) -> bool {
        self.taken < self.places && self.holders.get(name).copied().unwrap_or(0) < most
    }

    fn queue(&mut self, claim: &Claim, ticket: (u64, oneshot::Sender<Place>)) {
        self.waiting += 1;
        let most = claim.most_places;
        match self.turns.iter_mut().find(|turn| turn.name == claim.name) {
            Some(turn) => {
                turn.most = most;
                turn.tickets.push_back(ticket);
            }
            None => {
                let (name, tickets) = (Arc::clone(&claim.name), VecDeque::from([ticket]));
                self.turns.push_back(Turn { name, most, tickets });
            }
        }
    }

    /// The next ticket for which there is a place; its caller goes to the end of the turns.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Place>)> {
        let index = self.turns.iter().position(|turn| self.has_place(&turn.name, turn.most))?;
        let mut turn = self.turns.remove(index)?;
        let (_, caller) = turn.tickets.pop_front()?;
        self.waiting -= 1;
        let name = Arc::clone(&turn.name);
        if !turn.tickets.is_empty() {
            self.turns.push_back(turn);
        }
        Some((name, caller))
    }

    fn leave(&mut self, name: &Arc<str>, number: u64) {
        let Some(index) = self.turns.iter().position(|turn| turn.name == *name) else { return };
        let Some(turn) = self.turns.get_mut(index) else { return };
        let Some(at) = turn.tickets.iter().position(|(own, _)| *own == number) else { return };
        turn.tickets.remove(at);
        self.waiting -= 1;
        if turn.tickets.is_empty() {
            self.turns.remove(index);
        }
    }
}

impl Ticket {
    /// Waits for the turn.
    pub(crate) async fn turn(mut self, patience: Duration) -> Result<Place, Late> {
        match timeout(patience, &mut self.called).await {
            Ok(Ok(place)) => Ok(place),
            // The line never drops a ticket that still waits.
            Ok(Err(_)) | Err(_) => Err(Late),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.line.state().leave(&self.name, self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        let mut state = line.state();
        state.taken -= 1;
        if let Some(held) = state.holders.get_mut(&self.name) {
            *held -= 1;
            if *held == 0 {
                state.holders.remove(&self.name);
            }
        }
        line.call(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str) -> Claim {
        Claim { name: name.into(), most_places: usize::MAX, most_waiting: usize::MAX }
    }

    async fn soon(ticket: Ticket) -> Place {
        ticket.turn(Duration::from_secs(60)).await.unwrap()
    }

    #[tokio::test]
    async fn whoever_can_have_a_place_has_it_at_once() {
        let line = Line::new(2, 0);
        let first = soon(line.join(&claim("a")).unwrap()).await;
        let _second = soon(line.join(&claim("a")).unwrap()).await;
        assert_eq!(line.join(&claim("a")).unwrap_err(), Full);
        drop(first);
        soon(line.join(&claim("a")).unwrap()).await;
    }

    #[tokio::test]
    async fn callers_take_turns() {
        let line = Line::new(1, 10);
        let mut place = soon(line.join(&claim("a")).unwrap()).await;
        let many: Vec<_> = (0..3).map(|_| line.join(&claim("a")).unwrap()).collect();
        let few = line.join(&claim("b")).unwrap();
        let mut many = many.into_iter();
        drop(place);
        place = soon(many.next().unwrap()).await;
        drop(place);
        // Two of `a` still wait, but it is the turn of `b`.
        let _place = soon(few).await;
        assert_eq!(line.lengths(), (2, 1));
    }

    #[tokio::test]
    async fn nobody_has_more_places_than_its_share() {
        let line = Line::new(2, 10);
        let one = Claim { most_places: 1, most_waiting: 1, ..claim("a") };
        let place = soon(line.join(&one).unwrap()).await;
        let waits = line.join(&one).unwrap();
        assert_eq!(line.join(&one).unwrap_err(), Full, "one may wait");
        assert_eq!(line.lengths(), (1, 1));
        let _other = soon(line.join(&claim("b")).unwrap()).await;
        drop(place);
        soon(waits).await;
    }

    #[tokio::test]
    async fn who_leaves_is_forgotten() {
        let line = Line::new(1, 1);
        let place = soon(line.join(&claim("a")).unwrap()).await;
        drop(line.join(&claim("a")).unwrap());
        assert_eq!(line.lengths(), (0, 1));
        let ticket = line.join(&claim("a")).unwrap();
        assert_eq!(ticket.turn(Duration::ZERO).await.unwrap_err(), Late);
        drop(place);
        assert_eq!(line.lengths(), (0, 0));
        // Called, and gone before it looked: the place is free again.
        drop(line.join(&claim("a")).unwrap());
        assert_eq!(line.lengths(), (0, 0));
    }

    #[tokio::test]
    async fn a_larger_line_calls_who_waits() {
        let line = Line::new(1, 1);
        let _place = soon(line.join(&claim("a")).unwrap()).await;
        let ticket = line.join(&claim("b")).unwrap();
        line.resize(2, 1);
        soon(ticket).await;
    }
}
