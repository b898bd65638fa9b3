//! `top` in a terminal: draws, waits for keys, and leaves the terminal as it was, however it ends. It never decides what a key means.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::event::{self, Event, KeyEventKind};
use ratatui_crossterm::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui_crossterm::crossterm::{cursor, execute};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::super::client::Client;
use super::super::failure::Failure;
use super::super::screen::{Screen, Tone};
use super::TopArguments;
use super::compose::{self, Shown};
use super::questions::{Asker, News};
use super::view::{Then, View};
use crate::time::{Stopwatch, wall_now};

/// Keys are waited for so long before the picture is drawn again.
const TICK: Duration = Duration::from_millis(100);

/// Whether there is a terminal that can be drawn on, and keys to be read.
pub(super) fn is_possible() -> bool {
    stdout().is_terminal() && io::stdin().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shows the webhooks until a key, a signal or the number of looks ends it.
pub(super) fn show(arguments: &TopArguments, daemon: Client, screen: Screen) -> Result<(), Failure> {
    let asker = Asker::start(daemon)?;
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGTERM, SIGINT, SIGHUP] {
        let value = usize::try_from(number).unwrap_or_default();
        signal_hook::flag::register_usize(number, Arc::clone(&signal), value).map_err(|error| broken(&error))?;
    }
    let view = View::new(arguments.sort, arguments.reverse, screen.colour);
    let drawn = Drawing::begin().and_then(|mut drawing| run(view, arguments, &asker, &mut drawing.terminal, &signal));
    // The terminal is as it was from here on.
    if let Ok(number @ 1..) = i32::try_from(signal.load(Ordering::Relaxed)) {
        // Whoever started it learns by which signal it ended.
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
    drawn
}

fn run(
    mut view: View,
    arguments: &TopArguments,
    asker: &Asker,
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    signal: &AtomicUsize,
) -> Result<(), Failure> {
    let mut left = arguments.iterations.unwrap_or(u64::MAX);
    let mut since_asked: Option<Stopwatch> = None;
    let mut is_waiting = false;
    loop {
        let mut is_last = false;
        while let Some(news) = asker.news() {
            if matches!(news, News::Top(_) | News::Away(_)) {
                is_waiting = false;
                left -= u64::from(matches!(news, News::Top(_)));
                is_last |= left == 0;
            }
            view.now = wall_now();
            view.learn(news);
        }
        let is_time = since_asked.as_ref().is_none_or(|asked| u128::from(asked.elapsed_ms()) >= arguments.interval.as_millis());
        if is_time && !is_waiting && !is_last {
            for question in view.questions() {
                is_waiting |= asker.ask(question)?;
            }
            since_asked = Some(Stopwatch::start());
        }
        view.now = wall_now();
        draw(&mut view, terminal)?;
        if is_last || signal.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        if !event::poll(TICK).map_err(|error| broken(&error))? {
            continue;
        }
        // A change of size needs nothing but another picture.
        let Event::Key(key) = event::read().map_err(|error| broken(&error))? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match view.press(key) {
            Then::Draw => {}
            Then::Quit => return Ok(()),
            Then::Ask(question) => {
                if !asker.ask(question)? {
                    view.notice = Some((Tone::Waiting, "the daemon has not answered yet, so it was not asked; press again".into()));
                }
            }
        }
    }
}

fn draw(view: &mut View, terminal: &mut Terminal<CrosstermBackend<Stdout>>) -> Result<(), Failure> {
    let picture = |frame: &mut ratatui_core::terminal::Frame<'_>| {
        let area = frame.area();
        view.size = (area.width, area.height);
        paint(view, area, frame.buffer_mut());
    };
    terminal.draw(picture).map(drop).map_err(|error| broken(&error))
}

/// Draws the screen into a buffer.
pub(super) fn paint(view: &View, area: Rect, buffer: &mut Buffer) {
    for (Shown { tone, text, is_selected }, y) in compose::screen(view, area.width, area.height).into_iter().zip(area.y..area.bottom()) {
        let mut style = if view.colour { Style::new().fg(colour(tone)) } else { Style::new() };
        if tone == Tone::Label || tone == Tone::Bad {
            style = style.add_modifier(Modifier::BOLD);
        }
        if is_selected {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let (end, _) = buffer.set_stringn(area.x, y, &text, usize::from(area.width), style);
        if is_selected {
            buffer.set_style(Rect { x: end, y, width: area.right().saturating_sub(end), height: 1 }, style);
        }
    }
}

const fn colour(tone: Tone) -> Color {
    match tone {
        Tone::Plain => Color::Reset,
        Tone::Good => Color::Green,
        Tone::Waiting => Color::Yellow,
        Tone::Bad => Color::Red,
        Tone::Label => Color::Cyan,
    }
}

/// The terminal while it is drawn on; dropped, it is as it was.
struct Drawing {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Drawing {
    fn begin() -> Result<Self, Failure> {
        // A panic says what it has to say on the screen that stays.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
        enable_raw_mode().map_err(|error| broken(&error))?;
        let entered = execute!(stdout(), EnterAlternateScreen, cursor::Hide).and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(broken(&error))
            }
        }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal that is gone can't be restored, and need not be.
fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

fn broken(error: &io::Error) -> Failure {
    Failure::Refused(format!("the terminal can't be used: {error}\n`hookwheel top --iterations 1 | cat` prints one frame without it"))
}
