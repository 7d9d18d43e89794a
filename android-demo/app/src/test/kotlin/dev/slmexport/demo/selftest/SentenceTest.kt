package dev.slmexport.demo.selftest

import org.junit.Assert.assertEquals
import org.junit.Test

class SentenceTest {
    @Test fun theMessageIsTold() = assertEquals("It broke.", sentence(RuntimeException("It broke")))

    @Test fun ofAnErrorThatSaysNothingItsCauseIsTold() =
        assertEquals("No such library!", sentence(ExceptionInInitializerError(RuntimeException("No such library!"))))

    @Test fun whereNothingSaysAnythingItIsTheName() = assertEquals("RuntimeException.", sentence(RuntimeException(" ")))
}
