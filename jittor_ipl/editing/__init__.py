"""Edit faces by words: in the codes that a generator draws from, without training the generator again."""
