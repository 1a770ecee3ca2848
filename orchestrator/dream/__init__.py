"""The dream: turns what runs learned into a library that stays true, small and safe; each phase a file of its own."""
