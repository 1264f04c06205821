"""Models on the Hub and in the package: the zoo, loading, saving and publishing."""
