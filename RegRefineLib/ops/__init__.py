"""Operations on images and fields that refinements, networks and the finish share."""
