"""Passes that give up generality: the result serves fixed sizes or fixed input values only."""
