//! The front doors, really bound, with a stand-in behind them.
