//! `dataplane top`: an interface at work, in a terminal.
//!
//! [`Model`] turns one report after another into rates, [`view`] draws it; neither knows a terminal or a clock. This file
//! joins them to both.

mod model;
mod view;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::status::{StatusError, collect_one, interfaces};
use crate::up::RunDir;
use model::{Model, Sort};

/// What `dataplane top` takes.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Seconds between two looks.
    #[arg(short = 'n', long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub interval: u64,
    #[command(flatten)]
    pub(crate) run_dir: RunDir,
    /// The interface to begin with; the first where none is named.
    #[arg(value_name = "INTERFACE")]
    pub interface: Option<String>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Quit,
    Pause,
    Sort,
    NextInterface,
    Faster,
    Slower,
    Scroll(isize),
    Help,
    Nothing,
}

/// Shows an interface until somebody quits.
///
/// # Errors
/// [`StatusError`]: there is no interface to begin with, or no terminal. The terminal is as it was.
pub fn main(options: &Options) -> Result<(), StatusError> {
    let run_dir = options.run_dir.run_dir.as_path();
    let interface = match &options.interface {
        Some(interface) => interface.clone(),
        None => interfaces(run_dir)?.into_iter().next().ok_or_else(|| {
            let why = format!("no interface is up in {}", run_dir.display());
            StatusError::Silent { interface: "top".to_owned(), why, forbidden: false }
        })?,
    };
    // What is wrong with the first look is told before the screen is taken.
    let first = collect_one(run_dir, &interface)?;
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(StatusError::NoTerminal);
    }
    let mut model = Model::new(interface, Duration::from_secs(options.interval));
    model.add(Instant::now(), Ok(first));
    // This also restores the terminal when the program panics.
    let mut terminal = ratatui::try_init().map_err(StatusError::system("cannot take the terminal"))?;
    let outcome = run(&mut terminal, &mut model, options);
    let restored = ratatui::try_restore();
    outcome.and(restored).map_err(StatusError::system("cannot draw to the terminal"))
}

fn run(terminal: &mut DefaultTerminal, model: &mut Model, options: &Options) -> io::Result<()> {
    let run_dir = options.run_dir.run_dir.as_path();
    let mut next = Instant::now() + model.interval;
    loop {
        terminal.draw(|frame| view::draw(frame, model))?;
        let now = Instant::now();
        if now >= next {
            // A look that took long does not make the next ones come at once.
            next = now + model.interval;
            if !model.paused {
                let report = collect_one(run_dir, &model.interface);
                model.add(Instant::now(), report.map_err(|error| error.to_string()));
            }
        }
        if !event::poll(next.saturating_duration_since(Instant::now()))? {
            continue;
        }
        let action = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => action(key),
            _ => Action::Nothing,
        };
        match action {
            Action::Quit => return Ok(()),
            Action::NextInterface => {
                let names = interfaces(run_dir).unwrap_or_default();
                let after = names.iter().position(|name| *name == model.interface).map_or(0, |at| at + 1);
                if let Some(name) = names.get(after).or(names.first()) {
                    *model = Model { sort: model.sort, ..Model::new(name.clone(), model.interval) };
                    next = Instant::now();
                }
            }
            other => model.apply(other),
        }
    }
}

fn action(key: KeyEvent) -> Action {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Action::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Tab | KeyCode::Char('i') => Action::NextInterface,
        KeyCode::Char('+') => Action::Faster,
        KeyCode::Char('-') => Action::Slower,
        KeyCode::Char('h' | '?') => Action::Help,
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::PageDown => Action::Scroll(10),
        KeyCode::PageUp => Action::Scroll(-10),
        _ => Action::Nothing,
    }
}

impl Model {
    fn apply(&mut self, action: Action) {
        match action {
            Action::Pause => self.paused = !self.paused,
            Action::Sort => self.sort = self.sort.next(),
            Action::Faster => self.interval = (self.interval / 2).max(Duration::from_millis(250)),
            Action::Slower => self.interval = (self.interval * 2).min(Duration::from_secs(60)),
            Action::Help => self.help = !self.help,
            Action::Scroll(by) => self.scroll = self.scroll.saturating_add_signed(by).min(self.peers.len()),
            Action::Quit | Action::NextInterface | Action::Nothing => {}
        }
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Rate => Self::Handshake,
            Self::Handshake => Self::Key,
            Self::Key => Self::Rate,
        }
    }
}

#[cfg(test)]
mod tests;
