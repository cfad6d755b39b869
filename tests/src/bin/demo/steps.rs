//! Steps on paper: one line each, `ok` or `FAILED`, how long it took and what was seen.

use std::time::Instant;

use anyhow::Result;

/// Counts and prints.
pub(crate) struct Steps {
    began: Instant,
    done: usize,
    failed: usize,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            done: 0,
            failed: 0,
        }
    }

    /// A step that others build on: its failure is told here and ends the story.
    pub(crate) async fn must<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let began = Instant::now();
        let outcome = work.await;
        let seen = outcome.as_ref().map(|(_, seen)| seen.as_str());
        self.print(what, seen, began);
        outcome.map(|(made, _)| made)
    }

    /// A step that stands alone: its failure is told and counted, and the story goes on.
    pub(crate) async fn check(&mut self, what: &str, work: impl Future<Output = Result<String>>) {
        let began = Instant::now();
        let outcome = work.await;
        self.print(what, outcome.as_deref(), began);
    }

    /// Whether every step saw what it should.
    pub(crate) fn all_ok(&self) -> bool {
        self.failed == 0
    }

    /// The last line of the story.
    pub(crate) fn verdict(&self) -> String {
        let (done, failed, took) = (self.done, self.failed, self.began.elapsed().as_secs_f32());
        match failed {
            0 => format!("All {done} steps ok, in {took:.0} s."),
            _ => format!("{failed} of {done} steps FAILED, in {took:.0} s."),
        }
    }

    fn print(&mut self, what: &str, seen: Result<&str, &anyhow::Error>, began: Instant) {
        self.done += 1;
        let took = began.elapsed().as_secs_f32();
        match seen {
            Ok(seen) => println!("ok      {what} ({took:.1} s)\n        {}", indented(seen)),
            Err(error) => {
                self.failed += 1;
                let why = format!("{error:#}");
                println!("FAILED  {what} ({took:.1} s)\n        {}", indented(&why));
            }
        }
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n        ")
}
