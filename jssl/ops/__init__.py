"""Operations on arrays that losses and methods share."""
