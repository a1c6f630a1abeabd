//! How a program that is measured with is told to begin and to end: a line each on its standard input.
//!
//! It says `ready` when everything is set up; whoever started it reads the clocks and writes a line; the program works until
//! its time is over, or until its input ends, and says what it saw as one line of JSON.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that everything is set up, and waits for the word to begin.
///
/// # Errors
/// The input ended before.
pub fn ready() -> io::Result<()> {
    println!("ready");
    io::stdout().flush()?;
    match io::stdin().lock().read_line(&mut String::new())? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nobody said when to begin")),
        _ => Ok(()),
    }
}

/// A flag that is set when the input has another line, or ends.
pub fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        // Pairs with the relaxed loads of the loops: nothing else is published by it.
        flag.store(true, Ordering::Relaxed);
    });
    ended
}

/// Prints figures as one line of JSON.
pub fn report(figures: &[(&str, f64)]) {
    let mut line = String::from("{");
    for (number, (name, value)) in figures.iter().enumerate() {
        let _ = write!(line, "{}\"{name}\": {value}", if number > 0 { ", " } else { "" });
    }
    println!("{line}}}");
}
